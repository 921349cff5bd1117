package rest

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
	"opensessionmanager/messages"
)

func header(method, target string, more ...string) *fasthttp.RequestHeader {
	var h fasthttp.RequestHeader
	h.SetMethod(method)
	h.SetRequestURI(target)
	h.SetHost("broker")
	h.Set("Authorization", goodToken)
	for _, line := range more {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, value)
	}
	return &h
}

// F27: what is refused anyway is refused before its body.
func TestAdmit_TakesBodiesOfGoodRequestsOnly(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.TokenEndpoint = func(*fasthttp.RequestCtx) {} })
	all := listen.Admission{MaxBytes: 4 << 20}
	for _, h := range []*fasthttp.RequestHeader{
		header("POST", "/createSessions"),
		header("POST", "/createSessions?explain=true"),
		header("POST", "https://broker:8443/createSessions?explain=true"),
		header("POST", "/createSessions", "Content-Type: application/json; charset=utf-8"),
		header("PUT", "/sessionPermissions"),
	} {
		require.Equal(t, all, a.server.Admit(h), h.String())
	}
	require.Equal(t, listen.Admission{MaxBytes: 64 << 10, Anonymous: true}, a.server.Admit(header("POST", "/oauth2/token?a=b")))
	for _, h := range []*fasthttp.RequestHeader{
		header("POST", "/createSessions", "Authorization: Bearer wrong"),
		header("POST", "/createSessions", "Authorization: Bearer outage"),
		header("POST", "/createSessions", "Content-Type: text/plain"),
		header("POST", "/createSessions", "Content-Encoding: gzip"),
		header("POST", "/nothing"), header("PUT", "/createSessions"), header("GET", "/health"), header("POST", "//"),
		header("GET", "/sessionConnectionData/a/b"), header("POST", "*"), header("POST", "http://"), header("POST", "/%63reateSessions"),
	} {
		require.Zero(t, a.server.Admit(h), h.String())
	}
	require.Zero(t, newAPI(t).server.Admit(header("POST", "/oauth2/token")), "no such path")
	open := newAPI(t, func(c *Config) { c.Authorizer = nil })
	require.Equal(t, listen.Admission{MaxBytes: 4 << 20, Anonymous: true}, open.server.Admit(header("POST", "/createSessions")))
}

// The same through a port: the status says why, and no byte of the body is awaited.
func TestAdmit_PortRefusesBeforeTheBody(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	port, err := listen.New(listen.Config{Name: "client", Addr: "127.0.0.1:0", Handler: a.handler, Admit: a.server.Admit, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	port.Start()
	defer func() { require.NoError(t, port.Shutdown(context.Background())) }()
	for head, status := range map[string]int{
		"POST /createSessions HTTP/1.1\r\n": 401,
		"POST /createSessions HTTP/1.1\r\nAuthorization: Bearer wrong\r\nExpect: 100-continue\r\n":               401,
		"POST /createSessions HTTP/1.1\r\nAuthorization: " + goodToken + "\r\nContent-Type: text/plain\r\n":      415,
		"POST /nothing HTTP/1.1\r\nAuthorization: " + goodToken + "\r\n":                                         404,
		"DELETE /createSessions HTTP/1.1\r\nAuthorization: " + goodToken + "\r\n":                                405,
		"POST /createSessions HTTP/1.1\r\nAuthorization: Bearer outage\r\n":                                      503,
		"POST /createSessions HTTP/1.1\r\nAuthorization: " + goodToken + "\r\nBroker-Body-Withheld: refused\r\n": 503,
	} {
		conn, err := net.Dial("tcp", port.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(conn, head+"Host: a\r\nContent-Length: 4000000\r\n\r\n")
		require.NoError(t, err)
		if strings.Contains(head, "Withheld") { // it was admitted, so its beginning is awaited
			_, err = io.WriteString(conn, strings.Repeat(" ", 8<<10))
			require.NoError(t, err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, head)
		require.Equal(t, status, response.StatusCode, head)
		require.True(t, response.Close)
		require.NoError(t, conn.Close())
	}
	require.Empty(t, a.fleet.created)
}

// Whoever is not let in is in the log, without the token.
func TestAudit_RefusedTokensAreLogged(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.post("/createSessions", "[]", "Authorization: Bearer verysecret")
	line := regexp.MustCompile(`(?m)^.*level=WARN.*$`).FindString(a.log.String())
	for _, part := range []string{
		`request_id=` + got.header.Get("X-Request-Id"), "remote=192.0.2.7:4711", "path=/createSessions",
		"code=UNAUTHORIZED", `reason="Invalid access token"`,
	} {
		require.Contains(t, line, part)
	}
	require.NotContains(t, a.log.String(), "verysecret")
}

// What was changed is found by the id that the client was given.
func TestAudit_ChangesAreLogged(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	for request, want := range map[[2]string]string{
		{"/openServers", `[{"ServerId":"srv"},{"ServerId":"x"},{}]`}: "operation=openServers succeeded=1 failed=2",
		{"/deleteSessions", `[{"SessionId":"s","Owner":"o"}]`}:       "operation=deleteSessions succeeded=0 failed=1",
		{"/createSessions", `{`}:                                     "operation=createSessions succeeded=0 failed=0 code=INVALID_REQUEST",
	} {
		got := a.post(request[0], request[1])
		require.Regexp(t, `level=INFO msg="change requested" request_id=`+got.header.Get("X-Request-Id")+" client=client-1 "+want, a.log.String())
	}
	a.log.Reset()
	a.post("/describeSessions", "")
	require.NotContains(t, a.log.String(), "change requested")
}

func TestDoor_HeadOfHealth(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var rc fasthttp.RequestCtx
	rc.Request.Header.SetMethod("HEAD")
	rc.Request.SetRequestURI("/health")
	a.handler(&rc)
	require.Equal(t, 200, rc.Response.StatusCode())
}

// slowFleet takes as long for a batch of screenshots as it is given.
type slowFleet struct{ *fakeFleet }

func (f slowFleet) TakeScreenshots(ctx context.Context, commands []*messages.TakeScreenshot) []*messages.SessionResult {
	<-ctx.Done()
	f.asked = append(f.asked, commands)
	results := make([]*messages.SessionResult, len(commands))
	for i := range results {
		results[i] = refusedResult(&messages.Refusal{Code: messages.CodeTimeout})
	}
	return results
}

// What cannot be done in time is not begun, and says so.
func TestScreenshots_WithoutTimeAreNotBegun(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) {
		c.Fleet = slowFleet{c.Fleet.(*fakeFleet)}
		c.Options.RequestTimeout, c.Options.ScreenshotBatch = 50*time.Millisecond, 2
	})
	got := a.post("/getSessionScreenshots?explain=true", `[{"SessionId":"1"},{"SessionId":"2"},{"SessionId":"3"},{"SessionId":"4"},{"SessionId":"5"}]`)
	require.Equal(t, 200, got.status)
	require.Equal(t, 2, strings.Count(got.body, "The broker did not finish in time"))
	require.Equal(t, 3, strings.Count(got.body, "There was no time left to take this screenshot; ask for fewer at once"))
	require.Equal(t, 3, strings.Count(got.body, `"FailureCode":"BUSY"`))
	require.Len(t, a.fleet.asked, 1)
}

// A batch as long as the longest before it would not be over in time.
func TestTimeFor(t *testing.T) {
	t.Parallel()
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	require.True(t, timeFor(soon, time.Minute))
	require.False(t, timeFor(soon, 2*time.Hour))
	require.True(t, timeFor(t.Context(), 2*time.Hour), "without a bound there is time")
	cancel()
	require.False(t, timeFor(soon, 0))
}
