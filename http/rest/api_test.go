package rest

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/http/rest/apitest"
)

const goodToken = "Bearer good"

// fakeAuthorizer lets "good" in, and who says "other" as somebody else.
type fakeAuthorizer struct{}

func (fakeAuthorizer) Authorize(header []byte) (oauth.Principal, error) {
	switch string(header) {
	case "":
		return oauth.Principal{}, oauth.ErrNoHeader
	case goodToken:
		return oauth.Principal{ClientID: "client-1", Name: "one"}, nil
	case "Bearer other":
		return oauth.Principal{ClientID: "client-2", Name: "two"}, nil
	case "Bearer outage":
		return oauth.Principal{}, oauth.ErrUnavailable
	case "Bearer throttled":
		return oauth.Principal{}, throttled{}
	case "Bearer fault":
		return oauth.Principal{}, errors.New("secret detail")
	}
	return oauth.Principal{}, oauth.ErrInvalidToken
}

type throttled struct{}

func (throttled) Error() string { return "Too many requests" }
func (throttled) Code() string  { return CodeThrottled }

type fakeConnections struct{ err error }

func (f fakeConnections) SignConnection(_, session, owner, user string) (string, error) {
	return "token of " + user + " for " + session + " of " + owner, f.err
}

// api is a Server under test. Every answer is held to the API description.
type api struct {
	t       testing.TB
	fleet   *fakeFleet
	server  *Server
	handler fasthttp.RequestHandler
	checker *apitest.Checker
	log     *strings.Builder
}

func newAPI(t testing.TB, change ...func(*Config)) *api {
	t.Helper()
	a := &api{t: t, fleet: newFakeFleet(), log: new(strings.Builder)}
	cfg := Config{
		Fleet: a.fleet, Authorizer: fakeAuthorizer{}, Connections: fakeConnections{},
		Logger: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Secret: []byte(strings.Repeat("s", 32)),
	}
	for _, f := range change {
		f(&cfg)
	}
	checker, err := description()
	require.NoError(t, err)
	a.checker, a.server = checker, New(cfg)
	a.handler = a.server.Handler()
	return a
}

// description is read once: fuzzing makes many Servers.
var description = sync.OnceValues(apitest.New)

type answer struct {
	status int
	header http.Header
	body   string
}

func (a *api) post(path, body string, headers ...string) answer {
	a.t.Helper()
	return a.do("POST", path, body, headers...)
}

// do sends a request with a good token; headers are "Name: value" and may replace it.
func (a *api) do(method, target, body string, headers ...string) answer {
	a.t.Helper()
	var rc fasthttp.RequestCtx
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(target)
	req.Header.SetHost("broker")
	req.Header.Set("Authorization", goodToken)
	if body != "" {
		req.Header.SetContentType("application/json")
		req.SetBodyString(body)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, value)
		}
	}
	rc.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, nil)
	a.handler(&rc)
	got := answer{status: rc.Response.StatusCode(), header: http.Header{}, body: string(rc.Response.Body())}
	for name, value := range rc.Response.Header.All() {
		got.header.Add(string(name), string(value))
	}
	path, _, _ := strings.Cut(target, "?")
	require.NoError(a.t, a.checker.Check(method, path, got.status, got.header, []byte(got.body)))
	if got.status != http.StatusOK {
		require.True(a.t, strings.HasPrefix(got.body, `{"error": "`), got.body)
	}
	return got
}

// into decodes a body; the answer must have been 200.
func into[T any](t testing.TB, got answer) (out T) {
	t.Helper()
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.NoError(t, json.Unmarshal([]byte(got.body), &out))
	return out
}

// refused requires a refusal of the whole request and returns its text.
func refused(t testing.TB, got answer, status int, code string) string {
	t.Helper()
	require.Equal(t, status, got.status, got.body)
	require.Equal(t, code, got.header.Get("X-Error-Code"))
	var body struct {
		Error string `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &body))
	return body.Error
}
