package authserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth/authserver"
)

const good = "https://auth.example.com/.well-known/jwks.json"

// Contract section 2: https only, unless it is this machine, and the vendor's ending.
func TestServer_Check(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		good, "https://auth.example.com:8443/a/b/.well-known/jwks.json", "http://127.0.0.1:8080/.well-known/jwks.json",
		"http://localhost/.well-known/jwks.json", "http://[::1]:1/.well-known/jwks.json",
	} {
		require.NoError(t, authserver.Server{URL: url}.Check(), url)
	}
	for _, url := range []string{
		"", "x", "/.well-known/jwks.json", "https:///.well-known/jwks.json", "https:.well-known/jwks.json", "ftp://a/.well-known/jwks.json",
		"file:///.well-known/jwks.json", "http://auth.example.com/.well-known/jwks.json", "http://127.0.0.1.example.com/.well-known/jwks.json",
		"http://localhost.example.com/.well-known/jwks.json", "http://10.0.0.1/.well-known/jwks.json",
		"https://u:p@auth.example.com/.well-known/jwks.json", good + "#x", good + "#", good + "?a=b", "https://auth.example.com/jwks",
		"https://auth.example.com/x.well-known/jwks.json", good + " ", good + "\n", "https://a\x00b/.well-known/jwks.json",
		"https://" + strings.Repeat("a", 2100) + "/.well-known/jwks.json",
	} {
		require.ErrorIs(t, authserver.Server{URL: url}.Check(), authserver.ErrInvalid, "%q", url)
	}
	require.NoError(t, authserver.Server{URL: "https://login.microsoftonline.com/t/discovery/v2.0/keys?appid=1", AnyPath: true}.Check())
	require.ErrorIs(t, authserver.Server{URL: "http://login.microsoftonline.com/t/keys", AnyPath: true}.Check(), authserver.ErrInvalid)
	for _, algorithm := range []string{"none", "HS256", "rs256", "RSA-OAEP", "ES256K"} {
		require.ErrorIs(t, authserver.Server{URL: good, Algorithm: algorithm}.Check(), authserver.ErrInvalid, algorithm)
	}
	for _, algorithm := range authserver.Algorithms() {
		require.NoError(t, authserver.Server{URL: good, Algorithm: algorithm}.Check())
	}
	for _, s := range []authserver.Server{
		{URL: good, Scope: "a b"}, {URL: good, Issuer: "a\nb"}, {URL: good, Audience: strings.Repeat("a", 600)}, {URL: good, Scope: "\xff"},
	} {
		require.ErrorIs(t, s.Check(), authserver.ErrInvalid)
	}
}

func taken(t *testing.T, dir string) (all []authserver.Server, err error) {
	t.Helper()
	err = authserver.TakePending(dir, func(s authserver.Server) error { all = append(all, s); return nil })
	return all, err
}

func TestPend_IsTakenOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a [b]*?")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.Error(t, authserver.Pend(dir, authserver.Server{URL: "http://x"}))
	require.Error(t, authserver.Pend(filepath.Join(dir, "nowhere"), authserver.Server{URL: good}))
	require.NoError(t, authserver.Pend(dir, authserver.Server{URL: good}))
	require.NoError(t, authserver.Pend(dir, authserver.Server{URL: good, Scope: "newer"}))
	require.NoError(t, authserver.Pend(dir, authserver.Server{URL: good + "x", AnyPath: true}))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	all, err := taken(t, dir)
	require.NoError(t, err)
	require.ElementsMatch(t, []authserver.Server{{URL: good, Scope: "newer"}, {URL: good + "x", AnyPath: true}}, all)
	all, err = taken(t, dir)
	require.NoError(t, err)
	require.Empty(t, all)
}

// A broker that ends, or a store that fails, between reading and removing loses nothing.
func TestTakePending_KeepsWhatWasNotRegistered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, authserver.Pend(dir, authserver.Server{URL: good}))
	down := errors.New("down")
	require.ErrorIs(t, authserver.TakePending(dir, func(authserver.Server) error { return down }), down)
	all, err := taken(t, dir)
	require.NoError(t, err)
	require.Len(t, all, 1)
	was, err := authserver.Withdraw(dir, good)
	require.NoError(t, err)
	require.False(t, was)
}

// Who may write into the folder is the broker already; a file that others may have
// changed, or that leads elsewhere, is not believed even so.
func TestTakePending_BelievesOnlyItsOwnNotes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing there")
	}
	text := `{"url":"` + good + `"}`
	for name, spoil := range map[string]func(path string) error{
		"readable by others": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644))
		},
		"a link": func(path string) error {
			return errors.Join(os.WriteFile(path+".real", []byte(text), 0o600), os.Symlink(path+".real", path))
		},
		"a folder":         func(path string) error { return os.Mkdir(path, 0o700) },
		"unknown property": func(path string) error { return os.WriteFile(path, []byte(`{"url":"`+good+`","x":1}`), 0o600) },
		"no JSON":          func(path string) error { return os.WriteFile(path, []byte("\x00"), 0o600) },
		"endless":          func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"invalid":          func(path string) error { return os.WriteFile(path, []byte(`{"url":"http://example.com/x"}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, spoil(filepath.Join(dir, "pending-auth-server-0.json")))
			require.NoError(t, authserver.Pend(dir, authserver.Server{URL: good}))
			all, err := taken(t, dir)
			require.ErrorContains(t, err, "pending-auth-server-0.json")
			require.Len(t, all, 1, "the good one is taken")
		})
	}
}
