package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommand_ExitCodesAndOutput(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	good, bad := filepath.Join(folder, "good.conf"), filepath.Join(folder, "bad.conf")
	require.NoError(t, os.WriteFile(good, []byte("version='0.1'\n[agent]\nbroker_host='b'\nbrokr_port=1\n"), 0o600))
	require.NoError(t, os.WriteFile(bad, []byte("# version='0.1'\n[agent]\nbroker_host='b'\n"), 0o600))
	for _, c := range []struct {
		arguments      []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, exitOK, "--check-config", ""},
		{[]string{"--version"}, exitOK, "version", ""},
		{[]string{"--check-config", "--config", good}, exitOK, "did you mean agent.broker_port?", ""},
		{[]string{"--check-config", "--config", bad}, exitError, "", bad + ": version: this key is required; line 1 is a comment"}, // C31
		{[]string{"--config", bad}, exitError, "", "this key is required"},
		{[]string{"--config", filepath.Join(folder, "missing")}, exitError, "", "no such file"},
		{[]string{"--colour"}, exitUsage, "", "unknown flag"},
		{[]string{"start"}, exitUsage, "", `unexpected argument "start"`},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, execute(t.Context(), c.arguments, &stdout, &stderr), "%v", c.arguments)
		require.Contains(t, stdout.String(), c.stdout)
		require.Contains(t, stderr.String(), c.stderr)
	}
}
