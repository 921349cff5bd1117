package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/service"
	"opensessionmanager/internal/enrolment"
)

func TestEnrol_MistakesOfTheCommandLine(t *testing.T) {
	t.Parallel()
	token := enrolment.New(enrolment.Fingerprint{}).Text()
	conf := filepath.Join(t.TempDir(), "agent.conf")
	require.NoError(t, os.WriteFile(conf, []byte("version='0.1'\n[agent]\n"), 0o600))
	for _, c := range []struct {
		arguments []string
		code      int
		stderr    string
	}{
		{nil, exitUsage, "option --token is required"},
		{[]string{"--token", "x"}, exitUsage, "this is not an enrolment token"},
		{[]string{"--token", token[:80], "--broker", "b"}, exitUsage, "damaged"},
		{[]string{"--token", token, "--broker", "b:99999"}, exitUsage, "the port must be 1 to 65535"},
		{[]string{"--token", token, "--config", conf}, exitError, "agent.broker_host: this key is required"},
		{[]string{"--token", token, "--config", conf + ".missing", "--broker", "b"}, exitError, "no such file"},
		{[]string{"--token", token, "--config", conf, "--broker", "https://b"}, exitUsage, "the port must be"},
		{[]string{"--token", token, "--config", conf, "--broker", "b/c"}, exitError, "this is not a host name"},
		{[]string{"--token", token, "x"}, exitUsage, "unexpected argument"},
		{[]string{"--token", token, "--config", conf, "--broker", "127.0.0.1:1"}, exitUnreachable, "is the agent port open?"},
	} {
		for _, name := range []string{"enrol", "enroll"} {
			var stdout, stderr bytes.Buffer
			require.Equal(t, c.code, execute(t.Context(), append([]string{name}, c.arguments...), &stdout, &stderr), "%v: %s", c.arguments, stderr.String())
			require.Contains(t, stderr.String(), c.stderr)
			require.NotContains(t, stderr.String(), token[20:60])
		}
	}
}

func TestEnrol_ReadsTheTokenFromStandardInput(t *testing.T) {
	t.Parallel()
	token := enrolment.New(enrolment.Fingerprint{7})
	for _, in := range []string{token.Text(), token.Text() + "\n", "enrolment-token: " + token.Text() + "\r\nmore"} {
		read, err := readToken("-", strings.NewReader(in))
		require.NoError(t, err)
		require.Equal(t, token, read)
	}
	for _, in := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		_, err := readToken("-", strings.NewReader(in))
		require.Error(t, err)
	}
}

func TestEnrol_HelpHasExamplesAndExitCodes(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	require.Zero(t, execute(t.Context(), []string{"enrol", "--help"}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "enrol --token dcvsm-enrol-1.")
	require.Contains(t, stdout.String(), "Exit codes:")
}

func TestJudged_GivesExitCodes(t *testing.T) {
	t.Parallel()
	for err, code := range map[error]int{
		enroll.ErrImpostor:                        exitUntrusted,
		fmt.Errorf("a: %w", service.ErrUntrusted): exitUntrusted,
		fmt.Errorf("a: %w", enroll.ErrRefused):    exitRefused,
		errors.New("connection refused"):          exitUnreachable,
	} {
		var own exitCode
		require.ErrorAs(t, judged(err), &own)
		require.Equal(t, code, own.code)
	}
	require.ErrorContains(t, judged(os.ErrPermission), "run this as root")
}
