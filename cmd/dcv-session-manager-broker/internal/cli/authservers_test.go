package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/internal/config"
)

const jwksURL = "https://auth.example.com/.well-known/jwks.json"

// Contract section 8.
func TestAuthServerCommands_PrintTheVendorsText(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{}
	r := run(t, broker, "list-auth-servers")
	require.Equal(t, result{0, "Urls: [ ]\n", ""}, r)
	r = run(t, broker, "register-auth-server", "--url", jwksURL, "--algorithm", "RS256", "--issuer", "i", "--audience", "a", "--scope", "s")
	require.Equal(t, result{0, "Jwk url registered.\n", ""}, r)
	require.Equal(t, authserver.Server{URL: jwksURL, Algorithm: "RS256", Issuer: "i", Audience: "a", Scope: "s"}, broker.servers[0].Server)
	require.Equal(t, result{0, "Urls: [ \"" + jwksURL + "\" ]\n", ""}, run(t, broker, "list-auth-servers"))
	broker.servers = append(broker.servers, broker.servers[0])
	require.Equal(t, "Urls: [ \""+jwksURL+"\", \""+jwksURL+"\" ]\n", run(t, broker, "list-auth-servers").out)
	require.Equal(t, result{0, "Jwk url" + jwksURL + " unregistered\n", ""}, run(t, broker, "unregister-auth-server", "--url", jwksURL))
	require.Equal(t, result{0, "Keys renewed.\n", ""}, run(t, broker, "renew-auth-server-api-key"))
}

func TestRegisterAuthServer_TakesEverySpelling(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--url=" + jwksURL, "--algorithm=ES256"}, {"-u", jwksURL, "--alg", "ES256"}, {"--url", jwksURL, "--signing-algorithm", "ES256"},
	} {
		broker := &fakeBroker{}
		r := run(t, broker, append([]string{"register-auth-server"}, args...)...)
		require.Zero(t, r.code, r.errors)
		require.Equal(t, "ES256", broker.servers[0].Algorithm)
		require.Contains(t, r.errors, "--audience", "what is left open is said, but not to scripts")
	}
}

func TestAuthServerCommands_RefuseWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--url is required":               {"register-auth-server"},
		"option --url is required":        {"unregister-auth-server"},
		"must end in .well-known":         {"register-auth-server", "--url", "https://auth.example.com/keys"},
		"must begin with https://":        {"register-auth-server", "--url", "http://auth.example.com/.well-known/jwks.json"},
		"algorithm must be one of RS256,": {"register-auth-server", "--url", jwksURL, "--algorithm", "HS256"},
	} {
		broker := &fakeBroker{}
		r := run(t, broker, args...)
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.errors, want)
		require.Empty(t, r.out)
		require.Empty(t, broker.servers)
	}
}

func TestListAuthServers_SaysMoreToPrograms(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{servers: []adminclient.AuthServer{{Server: authserver.Server{URL: jwksURL, Scope: "s"}, Keys: 2, Problem: "away"}}}
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(run(t, broker, "list-auth-servers", "--output", "json").out), &list))
	require.Equal(t, []map[string]any{{"url": jwksURL, "scope": "s", "keys": 2.0, "problem": "away"}}, list)
	require.Equal(t, "[]\n", run(t, &fakeBroker{}, "list-auth-servers", "--output", "json").out)
}

// offline runs a command line while no broker runs.
func offline(t *testing.T, file string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	app := App{
		Stdout: &out, Stderr: &errs,
		Connect: func(cfg *config.Config) (AdminAPI, error) { return adminclient.Open(string(cfg.Storage.WorkingPath)) },
		Serve:   func(context.Context, *config.Config, *slog.Logger) error { return nil },
	}
	code := app.Run(t.Context(), append([]string{"--config", file}, args...))
	return result{code, out.String(), errs.String()}
}

// Real installers register the server before they start the broker (contract section 2).
func TestRegisterAuthServer_LeavesANoteBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.properties")
	require.NoError(t, os.WriteFile(file, []byte("session-manager-working-path = work\n"), 0o600))
	for range 2 { // installers run twice
		r := offline(t, file, "register-auth-server", "--url", jwksURL)
		require.Zero(t, r.code, r.errors)
		require.Equal(t, "Jwk url registered.\n", r.out)
		require.Contains(t, r.errors, "when it starts")
	}
	notes, err := filepath.Glob(filepath.Join(dir, "work", "*"))
	require.NoError(t, err)
	require.Len(t, notes, 1)
	info, err := os.Stat(notes[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(notes[0]))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	r := offline(t, file, "list-auth-servers")
	require.Equal(t, exitError, r.code)
	require.Contains(t, r.errors, "not running")
	r = offline(t, file, "unregister-auth-server", "--url", jwksURL)
	require.Equal(t, result{0, "Jwk url" + jwksURL + " unregistered\n", ""}, r)
	require.NoFileExists(t, notes[0])
	require.Equal(t, exitError, offline(t, file, "unregister-auth-server", "--url", jwksURL).code)
}
