package consul

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/consulapi"
	"opensessionmanager/persistence"
)

// openWith is a store whose Consul is handler. It knows a generation, so that its
// first request is the caller's.
func openWith(t *testing.T, handler http.HandlerFunc) *Store {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s := openAt(t, Config{Addresses: []string{server.URL}, Timeout: 10 * time.Second})
	s.current = &generation{number: 7, index: 7}
	return s
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// The table of outcomes: what Consul says before a write enters its log leaves no
// doubt, everything else does.
func TestWrite_OutcomeOfEachAnswer(t *testing.T) {
	t.Parallel()
	const success = `{"Results":[{"KV":{"Key":"dcv-session-manager/records/thing/a","ModifyIndex":9}}],"Errors":null}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"success":                {answer(200, success), nil},
		"no leader":              {answer(500, "No cluster leader"), persistence.ErrUnavailable},
		"no leader, forwarded":   {answer(500, "rpc error making call: No cluster leader"), persistence.ErrUnavailable},
		"no servers":             {answer(500, "No known Consul servers"), persistence.ErrUnavailable},
		"not the leader":         {answer(500, "raft apply failed: node is not the leader"), persistence.ErrUnavailable},
		"leader not reached":     {answer(500, "rpc error getting client: failed to get conn"), persistence.ErrUnavailable},
		"rate limit":             {answer(429, "rate limit exceeded, try again later"), persistence.ErrUnavailable},
		"rate limit of leader":   {answer(503, "rate limit exceeded for operation that"), persistence.ErrUnavailable},
		"forbidden":              {answer(403, "ACL not found"), persistence.ErrUnavailable},
		"bad request":            {answer(400, "Failed to parse body"), persistence.ErrUnavailable},
		"too large":              {answer(413, "Request body too large"), persistence.ErrTooLarge},
		"leadership lost":        {answer(500, "raft apply failed: leadership lost while committing log"), persistence.ErrUncertain},
		"call broken":            {answer(500, "rpc error making call: EOF"), persistence.ErrUncertain},
		"proxy lost the server":  {answer(502, "bad gateway"), persistence.ErrUncertain},
		"proxy timeout":          {answer(504, ""), persistence.ErrUncertain},
		"no JSON":                {answer(200, "hello"), persistence.ErrUncertain},
		"JSON of something else": {answer(200, `[]`), persistence.ErrUncertain},
		"success without index":  {answer(200, `{"Results":[null,{"KV":null}]}`), persistence.ErrUncertain},
		"rolled back, no reason": {answer(409, `{}`), persistence.ErrUnavailable},
		"rolled back, stale":     {answer(409, `{"Errors":[{"OpIndex":1,"What":"index is stale"}]}`), persistence.ErrConflict},
		"rolled back, denied":    {answer(409, `{"Errors":[{"OpIndex":1,"What":"Permission denied"}]}`), persistence.ErrUnavailable},
		"rolled back, nonsense":  {answer(409, `{"Errors":[null,{"OpIndex":99},{"OpIndex":-1}]}`), persistence.ErrUnavailable},
		"connection cut off":     {cutOff, persistence.ErrUncertain},
	} {
		s := openWith(t, c.answer)
		_, err := s.Save(t.Context(), record("a", 0, "x"))
		require.ErrorIs(t, err, c.want, name)
		if c.want == persistence.ErrUnavailable {
			require.NotErrorIs(t, err, persistence.ErrUncertain, name)
		}
	}
}

func cutOff(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// A write whose connection breaks is not sent again behind our back: the second try
// would report the first one's success as a conflict.
func TestWrite_IsSentOnce(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	s := openWith(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 { // so that the second request meets a connection that was used before
			answer(500, "No cluster leader")(w, r)
			return
		}
		cutOff(w, r)
	})
	_, err := s.Save(t.Context(), record("a", 0, "x"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = s.Save(t.Context(), record("a", 0, "x"))
	require.ErrorIs(t, err, persistence.ErrUncertain)
	require.EqualValues(t, 2, requests.Load())
}

// Nor to another agent, unless the first surely did nothing.
func TestWrite_AnotherAgentIsAskedOnlyIfTheFirstDidNothing(t *testing.T) {
	t.Parallel()
	var second atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		second.Add(1)
		answer(200, `{"Results":[{"KV":{"Key":"dcv-session-manager/records/thing/a","ModifyIndex":9}}]}`)(w, r)
	}))
	t.Cleanup(other.Close)
	for _, c := range []struct {
		first http.HandlerFunc
		want  error
		asked int64
	}{
		{answer(500, "No cluster leader"), nil, 1},
		{answer(429, "rate limit exceeded"), nil, 1},
		{answer(403, "Permission denied"), persistence.ErrUnavailable, 0},
		{answer(500, "leadership lost while committing log"), persistence.ErrUncertain, 0},
		{cutOff, persistence.ErrUncertain, 0},
	} {
		second.Store(0)
		server := httptest.NewServer(c.first)
		t.Cleanup(server.Close)
		s := openAt(t, Config{Addresses: []string{server.URL, other.URL}})
		s.current = &generation{number: 7, index: 7}
		_, err := s.Save(t.Context(), record("a", 0, "x"))
		require.ErrorIs(t, err, c.want)
		require.Equal(t, c.asked, second.Load())
	}
}

// Whatever comes as an answer to a read, nothing is made up of it.
func TestRead_StrangeAnswersAreUnavailable(t *testing.T) {
	t.Parallel()
	generationKV := `{"KV":{"Key":"dcv-session-manager/generation","Value":"Nw==","ModifyIndex":7}}`
	recordKV := func(rest string) string { return `{"KV":{"Key":"dcv-session-manager/records/thing/a",` + rest + `}}` }
	for name, text := range map[string]string{
		"empty":              ``,
		"no JSON":            `hello`,
		"nothing":            `{}`,
		"too few":            `{"Results":[` + generationKV + `]}`,
		"null":               `{"Results":[null,null]}`,
		"another key":        `{"Results":[` + generationKV + `,` + generationKV + `]}`,
		"another format":     `{"Results":[` + generationKV + `,` + recordKV(`"Value":"Mg==","ModifyIndex":9`) + `]}`,
		"no format":          `{"Results":[` + generationKV + `,` + recordKV(`"Value":"","ModifyIndex":9`) + `]}`,
		"an index too large": `{"Results":[` + generationKV + `,` + recordKV(`"Value":"MQ==","ModifyIndex":274877906944`) + `]}`,
		"a refusal":          `{"Errors":[{"OpIndex":0,"What":"unknown KV verb"}]}`,
		"no generation": `{"Results":[{"KV":{"Key":"dcv-session-manager/generation","Value":"eA==","ModifyIndex":7}},` +
			recordKV(`"Value":"MQ==","ModifyIndex":9`) + `]}`,
	} {
		s := openWith(t, answer(200, text))
		_, err := s.Load(t.Context(), record("a", 0, "").Key)
		require.ErrorIs(t, err, persistence.ErrUnavailable, name)
	}
}

func TestRead_AnEndlessAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	body := &bounded{body: io.NopCloser(strings.NewReader(strings.Repeat("a", 100))), left: 64}
	got, err := io.ReadAll(body)
	require.ErrorIs(t, err, errAnswerSize)
	require.Len(t, got, 64)
}

// Consul is configured to take less than by default: groups shrink until they fit.
func TestApply_GroupsShrinkToWhatConsulTakes(t *testing.T) {
	t.Parallel()
	cfg := sharedConfig(t)
	var refused atomic.Int64
	front := httptest.NewServer(limitBody(t, "http://"+cfg.Addresses[0], 20<<10, &refused))
	t.Cleanup(front.Close)
	cfg.Addresses = []string{front.URL}
	s := openAt(t, cfg)
	var ops []persistence.Op
	for i := range 200 {
		ops = append(ops, put(strings.Repeat("k", i+1), 0, strings.Repeat("d", 1000)))
	}
	ops[100].Record.Data = make([]byte, 30<<10)
	for i, r := range s.Apply(t.Context(), ops) {
		if i == 100 {
			require.ErrorIs(t, r.Err, persistence.ErrTooLarge)
			continue
		}
		require.NoError(t, r.Err, "op %d", i)
	}
	page, err := s.Scan(t.Context(), "thing", "", 1000)
	require.NoError(t, err)
	require.Len(t, page, 199)
	require.LessOrEqual(t, refused.Load(), int64(20), "the size is remembered")
}

// limitBody passes requests on to a Consul, or refuses them as one does that is
// configured with a small txn_max_req_len.
func limitBody(t *testing.T, to string, limit int64, refused *atomic.Int64) http.Handler {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	pass := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			refused.Add(1)
			answer(http.StatusRequestEntityTooLarge, "Request body too large")(w, r)
			return
		}
		pass.ServeHTTP(w, r)
	})
}

// fixed is a Consul that always answers the same.
type fixed struct {
	status int
	body   []byte
}

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: f.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(f.body))}, nil
}

// Whatever stands where Consul should: no panic, no endless loop, and each error is one
// that callers know.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"Results":[{"KV":{"Key":"dcv-session-manager/generation","Value":"Nw==","ModifyIndex":7}}]}`))
	f.Add(200, []byte(`["dcv-session-manager/records/thing/a"]`))
	f.Add(409, []byte(`{"Errors":[{"OpIndex":1,"What":"index is stale"},{"OpIndex":0,"What":"Permission denied"},null]}`))
	f.Add(500, []byte(`No cluster leader`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		s := openAt(t, Config{Timeout: time.Minute})
		all, err := consulapi.Connect(consulapi.Access{}, consulapi.NewTransport(time.Second), func(http.RoundTripper) http.RoundTripper { return judge{fixed{status, body}} })
		require.NoError(t, err)
		s.agents.Agents = all
		s.current = &generation{number: 7, index: 7}
		results := s.Apply(t.Context(), []persistence.Op{put("a", 0, "x"), remove("b", 7<<indexBits|9)})
		_, load := s.Load(t.Context(), record("a", 0, "").Key)
		_, scan := s.Scan(t.Context(), "thing", "", 10)
		for _, err := range []error{results[0].Err, results[1].Err, load, scan} {
			known := false
			for _, e := range []error{nil, persistence.ErrUnavailable, persistence.ErrUncertain, persistence.ErrConflict,
				persistence.ErrNotFound, persistence.ErrTooLarge} {
				known = known || errors.Is(err, e)
			}
			require.True(t, known, "%v", err)
		}
	})
}
