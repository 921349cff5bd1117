package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/internal/config"
)

// events reads the audit trail of a folder.
func events(t *testing.T, folder string) (all []map[string]any, err error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	for line := range bytes.Lines(data) {
		var event map[string]any
		require.NoError(t, json.Unmarshal(line, &event))
		all = append(all, event)
	}
	return all, err
}

// audit-log-directory: the trail has a folder of its own; without one it is with the
// log, or else in the working path.
func TestNode_KeepsTheAuditTrailWhereItIsToldTo(t *testing.T) {
	for name, c := range map[string]struct{ audit, log, want string }{
		"its own folder":   {"audit", "log", "audit"},
		"with the log":     {"", "log", "log"},
		"the working path": {"", "", "work"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			opt := options(t, filepath.Join(base, "work"))
			if c.audit != "" {
				opt.Config.Logging.AuditDirectory = config.Path(filepath.Join(base, c.audit))
			}
			if c.log != "" {
				opt.Config.Logging.Directory = config.Path(filepath.Join(base, c.log))
			}
			start(t, opt)
			admin, err := adminclient.Open(filepath.Join(base, "work"))
			require.NoError(t, err)
			defer admin.Close()
			made, err := admin.RegisterAPIClient(t.Context(), "portal")
			require.NoError(t, err)
			await(t, "the line", func() error {
				all, err := events(t, filepath.Join(base, c.want))
				if err != nil {
					return err
				}
				for _, e := range all {
					if e["msg"] == "register-api-client" && e["subject"] == "portal "+made.ClientID && e["client"] == "administrator" && e["client_name"] != "" {
						return nil
					}
				}
				return fmt.Errorf("not in %v", all)
			})
		})
	}
}

// max-api-requests-per-second counts all paths of both ports, but for health (F39).
func TestNode_ThrottlesEachCaller(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	opt.Config.Throttling.RequestsPerSecond = 3
	n := start(t, opt)
	statuses := map[int]int{}
	var last answer
	for range 12 {
		for _, at := range []string{n.ClientAddr() + "/sessionConnectionData/a/b", n.AgentAddr() + "/agent/oauth2/token"} {
			a, err := get(t, dir, at, "")
			require.NoError(t, err)
			statuses[a.status]++
			if a.status == http.StatusTooManyRequests {
				last = a
			}
		}
	}
	require.Positive(t, statuses[http.StatusUnauthorized], "%v", statuses)
	require.Positive(t, statuses[http.StatusTooManyRequests], "%v", statuses)
	require.Equal(t, `{"error": "Too many requests"}`, last.body)
	require.NotEmpty(t, last.retryAfter)
	for range 20 {
		a, err := get(t, dir, n.ClientAddr(), "/health")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, a.status)
	}
}

// The sockets of agents count only where they are refused: then they are as bounded as
// everything else.
func TestNode_ThrottlesRefusedSockets(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	opt.Config.Throttling.RequestsPerSecond = 3
	n := start(t, opt)
	statuses := map[int]int{}
	for range 12 {
		a, err := get(t, dir, n.AgentAddr(), "/agent/ws")
		require.NoError(t, err)
		statuses[a.status]++
	}
	require.Positive(t, statuses[http.StatusUnauthorized], "%v", statuses)
	require.Positive(t, statuses[http.StatusTooManyRequests], "%v", statuses)
}

// A registration that was left for the start is an administrative act like any other.
func TestNode_AuditsServersThatWereRegisteredBeforeTheStart(t *testing.T) {
	dir := t.TempDir()
	const url = "http://127.0.0.1:1/.well-known/jwks.json"
	require.NoError(t, authserver.Pend(dir, authserver.Server{URL: url}))
	start(t, options(t, dir))
	await(t, "the line", func() error {
		all, err := events(t, dir)
		if err != nil {
			return err
		}
		for _, e := range all {
			if e["msg"] == "register-auth-server" && e["outcome"] == "done" && e["subject"] == url {
				return nil
			}
		}
		return fmt.Errorf("not in %v", all)
	})
}
