package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Contract section 9: every exit code.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 400, `{"error": "The session s-1 is not in READY state"}`)
	b.header.Set("X-Error-Code", "SESSION_NOT_READY")
	for _, c := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"help", []string{"--help"}, 0, ""},
		{"no command shows the help", nil, 0, ""},
		{"version", []string{"--version"}, 0, ""},
		{"configuration missing", []string{"--conf", "/nowhere/x.conf", "describe-servers"}, 1, "Error: configuration file: open /nowhere/x.conf"},
		{"unknown option", []string{"describe-servers", "--loud"}, 2, "Usage: dcvsm describe-servers [OPTIONS]\nTry 'dcvsm describe-servers --help' for help.\n\nError: No such option: --loud\n"},
		{"option without its value", []string{"describe-servers", "--server-ids"}, 2, "flag needs an argument: --server-ids"},
		{"required option missing", []string{"delete-session", "--session-id", "s"}, 2, "Error: Missing option '--owner'."},
		{"required option empty", []string{"delete-session", "--session-id", "s", "--owner", ""}, 2, "Error: Missing option '--owner'."},
		{"extra argument", []string{"describe-servers", "x"}, 2, "Got unexpected extra argument (x)"},
		{"unknown command", []string{"describe-server"}, 252, "Error: No such command 'describe-server'. Did you mean describe-servers"},
		{"number out of range", []string{"describe-servers", "--max-results", "1001"}, 252, "Error: Invalid value for '--max-results': 1001 is not in the range 1<=x<=1000."},
		{"no number", []string{"describe-servers", "--max-results", "few"}, 252, `Invalid value for '--max-results': "few" is not a valid integer.`},
		{"empty id", []string{"open-servers", "--server-ids", "a,,b"}, 252, "Invalid value for '--server-ids'"},
		{"unknown type", []string{"create-session", "--name", "n", "--owner", "o", "--type", "Desktop"}, 252, `Invalid value for '--type': "Desktop" is not one of Console, Virtual.`},
		{"too many clients", []string{"create-session", "--name", "n", "--owner", "o", "--type", "Virtual", "--max-concurrent-clients", "101"}, 252, "101 is not in the range 1<=x<=100."},
		{"neither file nor base64", []string{"create-session", "--name", "n", "--owner", "o", "--type", "Virtual", "--permissions-file", "./none"}, 252, "there is no file of this name"},
		{"no such permissions file", []string{"update-session-permissions", "--session-id", "s", "--owner", "o", "--permission-file", "/nowhere/p"}, 252, "no such file"},
		{"screenshot of no width", []string{"get-session-screenshots", "--session-ids", "s", "--max-width", "0"}, 252, "0 is not in the range x>=1."},
		{"bad broker URL", []string{"--broker-url", "broker:8443", "describe-servers"}, 252, "does not begin with https://"},
		{"CA bundle missing", []string{"--ca-bundle", "/nowhere/ca.pem", "describe-servers"}, 253, "ca-bundle: open /nowhere/ca.pem"},
		{"the service refuses", []string{"get-session-connection-data", "--session-id", "s-1", "--user", "u"}, 254, "Error: The session s-1 is not in READY state (HTTP 400, SESSION_NOT_READY)\n"},
		{"nobody answers", []string{"--broker-url", "https://127.0.0.1:1", "describe-servers"}, 255, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := b.run(t, c.args...)
			require.Equal(t, c.code, r.code, r.err)
			require.Contains(t, r.err, c.err)
		})
	}
}

func TestExitCodes_OfSettingsThatAreMissing(t *testing.T) {
	t.Parallel()
	r := runWith(t.Context(), nil, "--broker-url", "https://127.0.0.1:1", "describe-servers")
	require.Equal(t, 253, r.code)
	require.Contains(t, r.err, "no authorization server")
	r = runWith(t.Context(), map[string]string{"DCV_SM_OAUTH2_TOKEN": "t"}, "describe-servers")
	require.Equal(t, 253, r.code)

	corrupt := filepath.Join(t.TempDir(), "c.conf")
	require.NoError(t, os.WriteFile(corrupt, []byte("[broker"), 0o600))
	require.Equal(t, 1, runWith(t.Context(), nil, "--conf", corrupt, "describe-servers").code)
}

func TestExitCode_OfAnInterrupt(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{}`)
	ctx, interrupt := context.WithCancel(t.Context())
	b.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
		interrupt()
		<-r.Context().Done()
	})
	r := runWith(ctx, map[string]string{"DCV_SM_OAUTH2_TOKEN": "t"}, "--broker-url", b.URL, "--ca-bundle", b.ca, "describe-servers")
	require.Equal(t, 130, r.code)
	require.Equal(t, "Aborted!\n", r.err)
}

func TestToken_WrongCredentialsAreAnAnswerOfTheService(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{}`)
	r := runWith(t.Context(), map[string]string{
		"DCV_SM_AUTH_SERVER_URL": b.URL + "/oauth2/token", "DCV_SM_CLIENT_ID": "portal", "DCV_SM_CLIENT_PASSWORD": "wrong",
	}, "--broker-url", b.URL, "--ca-bundle", b.ca, "describe-servers")
	require.Equal(t, 254, r.code)
	require.Equal(t, "Error: access token: invalid_client (HTTP 401)\n", r.err)
	require.Empty(t, b.requests)
}

func TestToken_GivenOneAsksNoAuthorizationServer(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{"Servers":[]}`)
	r := runWith(t.Context(), map[string]string{"DCV_SM_OAUTH2_TOKEN": "tok-1"}, "--broker-url", b.URL, "--ca-bundle", b.ca, "describe-servers")
	require.Zero(t, r.code, r.err)
	require.Zero(t, b.tokens)
}

func TestToken_GrantTypeIsSentEvenIfTheURLLacksIt(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{}`)
	r := runWith(t.Context(), map[string]string{
		"DCV_SM_AUTH_SERVER_URL": b.URL + "/oauth2/token", "DCV_SM_CLIENT_ID": "portal", "DCV_SM_CLIENT_PASSWORD": clientPassword,
	}, "--broker-url", b.URL, "--ca-bundle", b.ca, "describe-servers")
	require.Zero(t, r.code, r.err)
}

// C16: unknown certificates are refused with the cure; unchecked ones are announced.
func TestTLS_IsCheckedUnlessSwitchedOff(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{"Servers":[]}`)
	env := map[string]string{"DCV_SM_OAUTH2_TOKEN": "tok-1"}
	r := runWith(t.Context(), env, "--broker-url", b.URL, "describe-servers")
	require.Equal(t, 255, r.code)
	require.Contains(t, r.err, "give --ca-bundle FILE")
	require.Empty(t, b.requests)

	r = runWith(t.Context(), env, "--broker-url", b.URL, "--no-verify-ssl", "describe-servers")
	require.Zero(t, r.code)
	require.Contains(t, r.err, "Warning: the broker's certificate is not checked")

	r = runWith(t.Context(), env, "--broker-url", strings.Replace(b.URL, "127.0.0.1", "localhost", 1), "--ca-bundle", b.ca, "describe-servers")
	require.Equal(t, 255, r.code)
	require.Contains(t, r.err, "does not have the name in the URL")
}

func TestDebug_ShowsCallsButNoSecrets(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{"Servers":[]}`)
	r := b.run(t, "--debug", "describe-servers")
	require.Zero(t, r.code)
	require.Contains(t, r.err, "debug: POST "+b.URL+"/describeServers")
	require.Contains(t, r.err, "debug: answered 200 OK")
	for _, secret := range []string{clientPassword, "tok-1", "Basic", "Bearer"} {
		require.NotContains(t, r.err, secret)
	}
}

// Answers come from outside: nothing in them may drive the terminal, redirect the
// credentials or be taken for what it is not.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, answer string
		status, code int
		want         string
	}{
		{"escape sequences in an error", "{\"error\": \"\\u001b[2Jx\\u202e\"}", 400, 254, "Error: ?[2Jx? (HTTP 400)\n"},
		{"a page that is no JSON", "<html>Bad gateway</html>", 502, 254, "Error: <html>Bad gateway</html> (HTTP 502)\n"},
		{"a success that is no JSON", "<html>", 200, 255, "unreadable answer from describeServers"},
		{"a success of another shape", `{"Servers":{"Id":1}}`, 200, 255, "unreadable answer"},
		{"an empty refusal", "", 503, 254, "Error: Service Unavailable (HTTP 503)\n"},
		{"a redirect", "", 307, 254, "(HTTP 307)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, c.status, c.answer)
			b.header.Set("Location", b.URL+"/elsewhere")
			r := b.run(t, "describe-servers")
			require.Equal(t, c.code, r.code)
			require.Contains(t, r.err, c.want)
			require.Len(t, b.requests, 1)
		})
	}
}

func TestProgress_OnlyOnATerminalAndOnlyAfterASecond(t *testing.T) {
	t.Parallel()
	var silent, seen syncBuffer
	App{Stderr: &silent}.showProgress("Waiting")()
	App{Stderr: &silent, Terminal: true}.showProgress("Waiting")()
	require.Empty(t, silent.String())

	stop := App{Stderr: &seen, Terminal: true}.showProgress("Waiting")
	require.Eventually(t, func() bool { return strings.Contains(seen.String(), "\rWaiting... 1 s") }, time.Minute, 10*time.Millisecond, "progress is shown")
	stop()
	require.True(t, strings.HasSuffix(seen.String(), "\r\x1b[K"), "the line is removed")
}
