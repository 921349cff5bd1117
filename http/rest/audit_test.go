package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/oauth"
)

// trailed is an API with an audit trail, and how to read what is new in it.
func trailed(t *testing.T) (*api, func() []map[string]string) {
	var lines bytes.Buffer
	a := newAPI(t, func(c *Config) {
		c.Audit = audit.New(slog.New(slog.NewJSONHandler(&lines, nil)), slog.New(slog.DiscardHandler))
	})
	a.fleet.putServer(linuxServer("server-1"))
	a.fleet.putSession(readySession("session-1", "alice", "server-1"))
	return a, func() (all []map[string]string) {
		for decoder := json.NewDecoder(&lines); ; {
			event := map[string]string{}
			err := decoder.Decode(&event)
			if err == io.EOF {
				return all
			}
			require.NoError(t, err)
			require.NotEmpty(t, event["request_id"])
			require.Equal(t, "192.0.2.7:4711", event["remote"])
			for _, key := range []string{"time", "level", "request_id", "remote", "reason"} {
				delete(event, key)
			}
			all = append(all, event)
		}
	}
}

func TestAudit_EveryItemThatAsksForAChangeIsALine(t *testing.T) {
	t.Parallel()
	a, news := trailed(t)
	by := func(act, outcome string, more ...string) map[string]string {
		event := map[string]string{"msg": act, "outcome": outcome, "client": "client-1", "client_name": "one"}
		for i := 0; i < len(more); i += 2 {
			event[more[i]] = more[i+1]
		}
		return event
	}

	created := into[struct{ SuccessfulList []struct{ Id string } }](t, a.post("/createSessions",
		`[{"Name":"a","Owner":"bob","Type":"VIRTUAL","Requirements":"tag:secret='x'"},{"Name":"","Owner":"eve","Type":"VIRTUAL"}]`))
	require.Equal(t, []map[string]string{
		by("createSessions", "done", "session", created.SuccessfulList[0].Id, "owner", "bob"),
		by("createSessions", "refused", "code", "INVALID_REQUEST", "owner", "eve"),
	}, news())

	a.post("/deleteSessions", `[{"SessionId":"session-1","Owner":"alice"},{"SessionId":"nobody's","Owner":"x"}]`)
	require.Equal(t, []map[string]string{
		by("deleteSessions", "done", "session", "session-1", "owner", "alice"),
		by("deleteSessions", "refused", "code", "SESSION_NOT_FOUND", "session", "nobody's", "owner", "x"),
	}, news())

	a.post("/closeServers", `[{"ServerId":"server-1"}]`)
	a.post("/openServers", `[{"ServerId":"server-9"}]`)
	require.Equal(t, []map[string]string{
		by("closeServers", "done", "server", "server-1"),
		by("openServers", "refused", "code", "DCV_SERVER_NOT_FOUND", "server", "server-9"),
	}, news())
}

// N6: who could connect to a session, and who looked at it.
func TestAudit_ShowsWhoGotInAndWhoLooked(t *testing.T) {
	t.Parallel()
	a, news := trailed(t)
	require.Equal(t, 200, a.do("GET", "/sessionConnectionData/session-1/carol", "").status)
	a.post("/getSessionScreenshots", `[{"SessionId":"session-1"}]`)
	require.Equal(t, []map[string]string{
		{"msg": "GetSessionConnectionData", "outcome": "done", "client": "client-1", "client_name": "one", "session": "session-1", "owner": "alice", "user": "carol"},
		{"msg": "getSessionScreenshots", "outcome": "done", "client": "client-1", "client_name": "one", "session": "session-1"},
	}, news())
	a.post("/describeSessions", "")
	require.Empty(t, news(), "reads are not in the trail")
}

func TestAudit_EveryRefusedAuthorizationIsALine(t *testing.T) {
	t.Parallel()
	a, news := trailed(t)
	a.post("/describeSessions", "", "Authorization: ")
	a.post("/describeSessions", "", "Authorization: Bearer wrong")
	require.Equal(t, []map[string]string{
		{"msg": "authorize", "outcome": "refused", "code": "UNAUTHORIZED", "path": "/describeSessions"},
		{"msg": "authorize", "outcome": "refused", "code": "UNAUTHORIZED", "path": "/describeSessions"},
	}, news())
}

// Each request of a stranger may be a fault of ours, as with an authorization server
// away: they do not fill the log.
func TestLog_FaultsThatStrangersCauseAreBounded(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	a := newAPI(t, func(c *Config) {
		c.Authorizer = unavailable{}
		c.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	})
	for range 2000 {
		require.Equal(t, 503, a.post("/describeSessions", "").status)
	}
	n := bytes.Count(lines.Bytes(), []byte(`msg="client request"`))
	t.Logf("%d lines about 2,000 requests", n)
	require.Positive(t, n)
	require.Less(t, n, 1000)
}

type unavailable struct{}

func (unavailable) Authorize([]byte) (oauth.Principal, error) {
	return oauth.Principal{}, oauth.ErrUnavailable
}
