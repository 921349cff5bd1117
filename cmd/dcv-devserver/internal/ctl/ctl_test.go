package ctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cmd/dcv-devserver/internal/ctl"
	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/dcvcmd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is the program with these arguments.
func run(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	root := ctl.Root(&out, io.Discard)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// serve runs hosts until the test ends and returns where they are.
func serve(t *testing.T, args ...string) (dir string, hosts []devhost.Info) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "some [hosts]")
	ctx, stop := context.WithCancel(context.Background())
	output, input := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		root := ctl.Root(input, io.Discard)
		root.SetArgs(append([]string{"serve", "--json", "--dir", dir}, args...))
		err := root.ExecuteContext(ctx)
		_ = input.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.NoError(t, json.NewDecoder(output).Decode(&hosts), "serve tells where its hosts are")
	return dir, hosts
}

func dcv(t *testing.T, host devhost.Info, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code := dcvcmd.Run(t.Context(), host.Socket, args, &out, &out)
	return out.String(), code
}

func TestServe_HostsAreApartAndFaultsHitTheRightOne(t *testing.T) {
	t.Parallel()
	dir, hosts := serve(t, "--hosts", "3")
	require.Len(t, hosts, 3)
	require.NotEqual(t, hosts[0].Port, hosts[1].Port)
	info, err := devhost.AwaitInfo(t.Context(), filepath.Join(dir, "host-2"))
	require.NoError(t, err)
	require.Equal(t, hosts[1], info)

	_, err = run(t.Context(), "fault", "--dir", dir, "--host", "2", "fail", "--times", "1", "--message", "no licences")
	require.NoError(t, err)
	for i, host := range hosts {
		out, code := dcv(t, host, "create-session", "--owner", "alice", "s-1")
		require.Equal(t, i == 1, code == 1, out)
	}
	_, err = run(t.Context(), "fault", "stop", "--dir", dir, "--host", "3")
	require.NoError(t, err)
	_, err = run(t.Context(), "fault", "stall", "--dir", dir, "--command", "create-session")
	require.NoError(t, err)

	table, err := run(t.Context(), "status", "--dir", dir)
	require.NoError(t, err)
	require.Regexp(t, `host-1 +\d+ +running +1 +0 +stall create-session\n`, table)
	require.Regexp(t, `host-2 +\d+ +running +0 +0 +none\n`, table)
	require.Regexp(t, `host-3 +\d+ +stopped +0 +0 +none\n`, table)

	_, err = run(t.Context(), "fault", "clear", "--dir", dir, "--host", "all")
	require.NoError(t, err)
	out, err := run(t.Context(), "status", "--dir", dir, "--json")
	require.NoError(t, err)
	var all []control.HostStatus
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Empty(t, all[0].Faults)
}

func TestConnect_SaysWhatItSeesAndHowItEnded(t *testing.T) {
	t.Parallel()
	verifier := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("authenticationToken") == "good" {
			_, _ = io.WriteString(w, `<auth result="yes"><username>alice</username></auth>`)
			return
		}
		_, _ = io.WriteString(w, `<auth result="no"><message>expired</message></auth>`)
	}))
	t.Cleanup(verifier.Close)
	dir, hosts := serve(t, "--auth-token-verifier", verifier.URL)
	_, code := dcv(t, hosts[0], "create-session", "--owner", "alice", "s-1")
	require.Zero(t, code)
	address := fmt.Sprintf("https://127.0.0.1:%d/?authToken=", hosts[0].Port)
	picture := filepath.Join(t.TempDir(), "screen.jpeg")

	out, err := run(t.Context(), "connect", "--for", "500ms", "--ca-file", hosts[0].CertFile, address+"good#s-1")
	require.NoError(t, err)
	require.Contains(t, out, "Connected to session s-1 on host-1 as alice")
	require.Contains(t, out, "Disconnected.")

	_, err = run(t.Context(), "connect", "--insecure", address+"bad#s-1")
	require.ErrorContains(t, err, "expired")
	require.Equal(t, 3, ctl.ExitCode(err))
	_, err = run(t.Context(), "connect", address+"good#s-1")
	require.ErrorContains(t, err, "certificate")
	require.Equal(t, 1, ctl.ExitCode(err))

	ended := make(chan error, 1)
	go func() {
		_, err := run(t.Context(), "connect", "--insecure", "--screenshot", picture, address+"good#s-1")
		ended <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(picture); return err == nil },
		20*time.Second, 10*time.Millisecond, "a picture")
	_, err = run(t.Context(), "fault", "restart", "--dir", dir)
	require.NoError(t, err)
	require.Equal(t, 4, ctl.ExitCode(<-ended))
}

func TestCommandLine_NamesMistakes(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`required flag(s) "dir"`:   {"serve"},
		"--hosts must be":          {"serve", "--dir", t.TempDir(), "--hosts", "0"},
		"use --base-port":          {"serve", "--dir", t.TempDir(), "--hosts", "2", "--listen", "127.0.0.1:5000"},
		"must be http":             {"serve", "--dir", t.TempDir(), "--auth-token-verifier", "broker:8445"},
		"no host runs":             {"status", "--dir", t.TempDir()},
		"does not run":             {"fault", "stop", "--dir", t.TempDir()},
		"must be a number":         {"fault", "stop", "--dir", t.TempDir(), "--host", "../x"},
		`unknown command "bogus"`:  {"fault", "bogus", "--dir", t.TempDir()},
		"needs a delay":            {"fault", "slow", "--dir", t.TempDir()},
		"not a client URL":         {"connect", "https://host/"},
		"want https://HOST:PORT/?": {"connect", "http://host/?authToken=secret#s"},
	} {
		_, err := run(t.Context(), args...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
