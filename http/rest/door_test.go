package rest

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/messages"
)

// The guide's readiness probe compares this answer (contract section 1.1).
func TestDoor_NoHeaderIsRefusedBeforeAnythingIsLookedUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.do("GET", "/sessionConnectionData/aSession/aOwner", "", "Authorization: ")
	require.Equal(t, http.StatusUnauthorized, got.status)
	require.Equal(t, `{"error": "No authorization header"}`, got.body)
	require.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"))

	for _, bad := range []string{"%%%", `[{"X":1}`, strings.Repeat("[", 100000)} {
		got := a.post("/createSessions", bad, "Authorization: ", "Content-Type: text/plain")
		require.Equal(t, "No authorization header", refused(t, got, 401, CodeUnauthorized))
	}
}

func TestDoor_ErrorsOfTheAuthorizer(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for token, want := range map[string]struct {
		status int
		code   string
		text   string
	}{
		"Bearer wrong":     {401, CodeUnauthorized, "Invalid access token"},
		"Bearer outage":    {503, messages.CodeNotReady, "The broker is not ready to answer; try again later"},
		"Bearer throttled": {429, CodeThrottled, "Too many requests"},
		"Bearer fault":     {500, messages.CodeInternal, "The broker failed to answer; its log has the request id"},
	} {
		got := a.post("/describeSessions", "", "Authorization: "+token)
		require.Equal(t, want.text, refused(t, got, want.status, want.code))
		if want.status == 401 {
			require.Equal(t, `Bearer error="invalid_token"`, got.header.Get("WWW-Authenticate"))
		}
		if want.status == 503 || want.status == 429 {
			require.Equal(t, "1", got.header.Get("Retry-After"))
		}
	}
}

func TestDoor_WithoutAuthorizerEverybodyIsLetIn(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Authorizer = nil })
	require.Equal(t, 200, a.post("/describeSessions", "", "Authorization: ").status)
}

func TestDoor_PathsAndMethods(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, path := range []string{"/", "/nothing", "/describeSessions/", "/DescribeSessions", "/sessionConnectionData/only", "/api.yaml", "/oauth2/token"} {
		refused(t, a.do("GET", path, ""), http.StatusNotFound, CodeNoSuchPath)
	}
	for path, allow := range map[string]string{
		"/describeSessions": "POST", "/sessionPermissions": "PUT", "/sessionConnectionData/a/b": "GET", "/health": "GET, HEAD",
	} {
		got := a.do("DELETE", path, "")
		refused(t, got, http.StatusMethodNotAllowed, CodeMethodNotAllowed)
		require.Equal(t, allow, got.header.Get("Allow"))
	}
}

func TestDoor_ContentType(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, good := range []string{"", "application/json", "Application/JSON; charset=UTF-8", `application/json;charset="utf-8"`} {
		require.Equal(t, 200, a.post("/describeSessions", "{}", "Content-Type: "+good).status, good)
	}
	for _, bad := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"} {
		refused(t, a.post("/describeSessions", "{}", "Content-Type: "+bad), http.StatusUnsupportedMediaType, CodeMediaType)
	}
	refused(t, a.post("/describeSessions", "{}", "Content-Encoding: gzip"), http.StatusUnsupportedMediaType, CodeMediaType)
}

func TestDoor_BodyTooLarge(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Options.MaxBodySize = 100 })
	refused(t, a.post("/describeSessions", strings.Repeat(" ", 101)), http.StatusRequestEntityTooLarge, CodeBodyTooLarge)
}

// F28: hostile JSON costs one pass and gets a 400 that names the place.
func TestDoor_HostileJSON(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, c := range []struct{ body, text string }{
		{`[{"SessionId":"s","MaxWidth":1,"MaxHight":2}]`, `Unrecognized field "MaxHight" at byte 31`},
		{`[{"sessionId":"s"}]`, `Unrecognized field "sessionId" at byte 2`},
		{`[{"SessionId":1}]`, `Field "SessionId" at /0/SessionId (byte 14): expected a string, found a number`},
		{`[{"MaxWidth":"1"}]`, `Field "MaxWidth" at /0/MaxWidth (byte 13): expected an integer of 64 bits, found a string`},
		{`[{"MaxWidth":1.5}]`, `Field "MaxWidth" at /0/MaxWidth (byte 13): expected an integer of 64 bits, found 1.5`},
		{`[{"MaxWidth":9223372036854775808}]`, `Field "MaxWidth" at /0/MaxWidth (byte 13): expected an integer of 64 bits, found 9223372036854775808`},
		{`{"SessionId":"s"}`, `The request body (byte 0): expected an array, found an object`},
		{`[["s"]]`, `The request body at /0 (byte 1): expected an object, found an array`},
		{`[{"SessionId":"s","SessionId":"t"}]`, `duplicate object member name`},
		{`[{"MaxWidth":NaN}]`, `Invalid JSON at byte 13`},
		{"[{\"SessionId\":\"\xff\"}]", `invalid UTF-8`},
		{`[{"SessionId":"\ud800"}]`, `Invalid JSON`},
		{`[{"SessionId":"s"}] x`, `Invalid JSON at byte 20`},
		{`[{"SessionId":"s"}`, `Invalid JSON`},
		{``, `The request body is empty`},
		{strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), `Invalid JSON at byte 8: nested deeper than 8 levels`},
		{`[` + strings.Repeat(`{},`, 1_000_000) + `{}]`, `Too many items at byte 3000: a list may have at most 1000`},
	} {
		text := refused(t, a.post("/getSessionScreenshots", c.body), http.StatusBadRequest, messages.CodeInvalid)
		require.Contains(t, text, c.text)
		require.LessOrEqual(t, len(text), maxProblemText)
	}
	long := `[{"` + strings.Repeat("x", 100_000) + `":1}]`
	require.Less(t, len(a.post("/deleteSessions", long).body), 600, "the answer does not repeat the request")
	require.Equal(t, `Field "MaxResults" at /MaxResults (byte 14): expected an integer of 64 bits, found true`,
		strings.Replace(refused(t, a.post("/describeServers", `{"MaxResults":true}`), 400, messages.CodeInvalid), "a boolean", "true", 1))
}

func TestDoor_AListOfAThousandIsFine(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := into[itemsAnswer[doneItem]](t, a.post("/openServers", "["+strings.Repeat("{},", 999)+"{}]"))
	require.Len(t, got.UnsuccessfulList, 1000)
	refused(t, a.post("/describeSessions", `{"SessionIds":[`+strings.Repeat(`"",`, 1000)+`""]}`), 400, messages.CodeInvalid)
}

// F25: a panic costs one request, and the log has its id.
func TestDoor_APanicIsA500WithItsID(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Fleet = nilFleet{} })
	got := a.post("/describeSessions", "")
	refused(t, got, http.StatusInternalServerError, messages.CodeInternal)
	require.Contains(t, a.log.String(), "level=ERROR msg=\"request panicked\" request_id="+got.header.Get("X-Request-Id"))
	require.Equal(t, 401, a.post("/describeSessions", "", "Authorization: ").status, "others are served")
}

// nilFleet has no methods: each call is a nil dereference.
type nilFleet struct{ Fleet }

func TestDoor_FaultsOfOursAreNotTold(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Connections = fakeConnections{err: errors.New("private key is broken")} })
	a.fleet.putServer(linuxServer("srv"))
	a.fleet.putSession(readySession("s", "barbara", "srv"))
	got := a.do("GET", "/sessionConnectionData/s/barbara", "")
	refused(t, got, http.StatusInternalServerError, messages.CodeInternal)
	require.NotContains(t, got.body, "key")
	require.Contains(t, a.log.String(), "private key is broken")
}

func TestDoor_AccessLog(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := a.do("GET", "/sessionConnectionData/s%0Ax%22/u?explain=true&secret=1", "")
	line := a.log.String()
	require.Equal(t, 1, strings.Count(line, "\n"), "one line per request")
	require.Contains(t, line, "level=DEBUG")
	require.Contains(t, line, got.header.Get("X-Request-Id"))
	require.Contains(t, line, "client=client-1")
	require.NotContains(t, line, "secret")
	require.NotContains(t, line, goodToken)

	quiet := newAPI(t, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	require.Equal(t, 200, quiet.post("/describeSessions", "").status)
}

func TestDoor_HealthNeedsNoToken(t *testing.T) {
	t.Parallel()
	require.Equal(t, 200, newAPI(t).do("GET", "/health", "", "Authorization: ").status)
	sick := newAPI(t, func(c *Config) {
		c.Health = func() (bool, []byte) { return false, []byte(`{"error": "starting"}`) }
	})
	got := sick.do("GET", "/health", "", "Authorization: ")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, `{"error": "starting"}`, got.body)
}

func TestDoor_MountedHandlers(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) {
		c.EnableAPIYAML = true
		c.TokenEndpoint = func(rc *fasthttp.RequestCtx) {
			rc.SetContentType("application/json")
			rc.SetBodyString(`{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
		}
		c.JWKS = func(rc *fasthttp.RequestCtx) { rc.SetBodyString(`{"keys":[]}`) }
	})
	require.Contains(t, a.post("/oauth2/token?grant_type=client_credentials", "", "Authorization: ").body, "access_token")
	for path, want := range map[string]string{"/api.yaml": "openapi: 3.0.3", "/.well-known/jwks.json": `{"keys":[]}`} {
		var rc fasthttp.RequestCtx
		rc.Request.SetRequestURI(path)
		a.handler(&rc)
		require.Equal(t, 200, rc.Response.StatusCode())
		require.Contains(t, string(rc.Response.Body()), want)
	}
}
