package devhost_test

import (
	"bytes"
	"encoding/json"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "image/jpeg"
	_ "image/png"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
)

func TestDCV_TextAndJSONAreTheVendors(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 1, 14, 12, 15, 9, 707728000, time.UTC)
	host := start(t, devhost.Config{Now: func() time.Time { return now }})
	require.Equal(t, "There are no sessions available.\n", mustDCV(t, host, "list-sessions"))
	require.Equal(t, "[]\n", mustDCV(t, host, "list-sessions", "-j"))

	require.Empty(t, mustDCV(t, host, "create-session", "--owner", "alice", "--name", "my desk", "s-1"))
	require.Empty(t, mustDCV(t, host, "create-session", "--type=console", "--owner", "bob", "console"))
	require.Equal(t, "Session: 'console' (owner:bob type:console)\nSession: 's-1' (owner:alice type:virtual name:'my desk')\n",
		mustDCV(t, host, "list-sessions"))
	require.Contains(t, mustDCV(t, host, "describe-session", "s-1"), "Session: s-1\n  owner: alice\n  name: my desk\n  x display: :")

	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(mustDCV(t, host, "describe-session", "s-1", "--json")), &s))
	require.Equal(t, "2024-01-14T12:15:09.707728Z", s["creation-time"])
	require.Empty(t, s["last-disconnection-time"])
	require.Equal(t, []any{"virtual", "created", "alice", 0.0}, []any{s["type"], s["status"], s["user"], s["num-of-connections"]})
	require.Equal(t, []any{map[string]any{"width": 1920.0, "height": 1080.0, "x": 0.0, "y": 0.0}}, s["display-layout"])

	var endpoints []map[string]any
	require.NoError(t, json.Unmarshal([]byte(mustDCV(t, host, "list-endpoints", "-j")), &endpoints))
	require.Equal(t, float64(host.Info().Port), endpoints[0]["port"])
	require.Equal(t, []any{"127.0.0.1", "HTTP", "/"},
		[]any{endpoints[0]["ip-address"], endpoints[0]["protocol"], endpoints[0]["web-url-path"]})
	require.Regexp(t, `^Amazon DCV \d{4}\.\d+ \(r\d+\)\n`, mustDCV(t, host, "version"))
	require.Equal(t, "[]\n", mustDCV(t, host, "list-connections", "s-1", "-j"))

	require.Empty(t, mustDCV(t, host, "close-session", "--logout-user", "s-1"))
	require.Contains(t, refuseDCV(t, host, "describe-session", "s-1"), "was not found")
}

func TestDCV_CreateRefusesWhatDCVRefuses(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{Users: []string{"alice", "bob"}})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	mustDCV(t, host, "create-session", "--owner", "alice", "--type", "console", "c-1")
	script := filepath.Join(t.TempDir(), "init")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600))
	for want, args := range map[string][]string{
		`"s-1" already exists`:       {"--owner", "bob", "s-1"},
		`console session "c-1"`:      {"--owner", "bob", "--type", "console", "c-2"},
		`user "carol" does not`:      {"--owner", "carol", "s-2"},
		`user "dave" does not`:       {"--owner", "alice", "--user", "dave", "s-2"},
		"longer than 256 characters": {"--owner", "alice", "--name", strings.Repeat("ä", 257), "s-2"},
		"unknown session type":       {"--owner", "alice", "--type", "banana", "s-2"},
		"are for virtual sessions":   {"--owner", "alice", "--type", "console", "--gl", "on", "s-2"},
		"--gl must be on or off":     {"--owner", "alice", "--gl", "maybe", "s-2"},
		"at least 1":                 {"--owner", "alice", "--max-concurrent-clients", "0", "s-2"},
		"a session ID has":           {"--owner", "alice", "../s-2"},
		"absolute path":              {"--owner", "alice", "--storage-root", "here", "s-2"},
		"not an executable":          {"--owner", "alice", "--init", script, "s-2"},
		"cannot be read":             {"--owner", "alice", "--permissions-file", "/nonexistent", "s-2"},
		"unknown flag":               {"--colour", "red", "s-2"},
		"accepts 1 arg":              {"--owner", "alice"},
	} {
		message := refuseDCV(t, host, append([]string{"create-session"}, args...)...)
		require.Contains(t, strings.ToLower(message), strings.ToLower(want))
	}
	mustDCV(t, host, "create-session", "--owner", "alice", "--name", strings.Repeat("ä", 256), "s-3")
	require.Len(t, host.Sessions(), 3)
}

func TestDCV_TheScriptInTheFolderIsTheCommand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's a \"host\" $HOME;", strings.Repeat("long", 30))
	host := start(t, devhost.Config{Dir: dir})
	require.Equal(t, filepath.Join(dir, "dcv"), host.Info().DCV)
	output, err := exec.Command(host.Info().DCV, "create-session", "--owner", "a b", "--name", `$x 'y' "z"`, "s-1").CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, `$x 'y' "z"`, session(t, host, "s-1").Name)
	failure := &exec.ExitError{}
	_, err = exec.Command(host.Info().DCV, "close-session", "s-2").Output()
	require.ErrorAs(t, err, &failure)
	require.Equal(t, 1, failure.ExitCode())
	require.Equal(t, "Could not close session. Session \"s-2\" was not found.\n", string(failure.Stderr))

	socket, err := os.Stat(host.Info().Socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), socket.Mode().Perm())
}

// Expectation F45: one picture per call, within the bounds asked for, all displays
// or the primary one.
func TestDCV_Screenshot(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	mustDCV(t, host, "set-display-layout", "--session", "s-1", "800x600+0+0,800x600+800+0")
	size := func(data []byte, format string) []int {
		config, got, err := image.DecodeConfig(bytes.NewReader(data))
		require.NoError(t, err)
		require.Equal(t, format, got)
		return []int{config.Width, config.Height}
	}
	var shot control.Image
	require.NoError(t, json.Unmarshal([]byte(mustDCV(t, host, "get-screenshot", "-j", "--format", "JPEG",
		"--max-width", "400", "--max-height", "400", "s-1")), &shot))
	require.Equal(t, "jpeg", shot.Format)
	require.Equal(t, []int{400, 150}, size(shot.Base64, "jpeg"))

	file := filepath.Join(t.TempDir(), "shot.png")
	mustDCV(t, host, "get-screenshot", "--primary", "-o", file, "s-1")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, []int{800, 600}, size(data, "png"))
	require.Contains(t, refuseDCV(t, host, "get-screenshot", "--format", "gif", "s-1"), "png or jpeg")
	require.Contains(t, refuseDCV(t, host, "get-screenshot", "--max-width", "-1", "s-1"), "out of range")
	require.Contains(t, refuseDCV(t, host, "get-screenshot", "s-2"), "was not found")
	require.Contains(t, refuseDCV(t, host, "set-display-layout", "--session", "s-1", "9999x1"), "bad display layout")
}

func TestDCV_NameAndSettings(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	mustDCV(t, host, "set-name", "--session", "s-1", "better")
	require.Equal(t, "better", session(t, host, "s-1").Name)
	mustDCV(t, host, "set-config", "--section", "session-management", "--key", "create-session", "false")
	require.Equal(t, map[string]string{"session-management/create-session": "false"}, host.Status().Settings)
	require.Contains(t, refuseDCV(t, host, "set-permissions", "--session", "s-1"), "at least one")
	require.Contains(t, refuseDCV(t, host, "set-permissions", "--session", "s-1", "--none", "--reset-builtin"), "none of the others can be")
}

func TestDCV_InitScriptRunsInTheSession(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{Dir: filepath.Join(t.TempDir(), "h")})
	script := filepath.Join(t.TempDir(), "my init.sh")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
trap 'echo "ended properly"; exit' TERM
( while :; do sleep 60; done ) &
echo "session $DCV_SESSION_ID of $USER, secret '$DEVHOST_SECRET', display $DISPLAY"
while :; do wait; done
`), 0o700))
	mustDCV(t, host, "create-session", "--owner", "alice", "--init", script, "s-1")
	log := func() string {
		data, err := os.ReadFile(filepath.Join(host.Info().Dir, "init", "s-1.log"))
		require.NoError(t, err)
		return string(data)
	}
	await(t, "the script to write", func() bool { return strings.Contains(log(), "session s-1 of alice, secret '', display :") })
	mustDCV(t, host, "close-session", "s-1")
	await(t, "the script to end", func() bool { return strings.Contains(log(), "ended properly") })
}

func TestDCV_InitScriptThatIgnoresTheEndIsKilled(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	dir := t.TempDir()
	script := filepath.Join(dir, "init.sh")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\ntrap '' TERM HUP INT\nyes flood | head -c 3000000 &\necho $$ >'"+dir+"/pid'\nwhile :; do wait; sleep 1; done\n"), 0o700))
	mustDCV(t, host, "create-session", "--owner", "alice", "--init", script, "s-1")
	await(t, "the script to start", func() bool { _, err := os.Stat(dir + "/pid"); return err == nil })
	require.NoError(t, host.Close(), "closing waits for the script and would hang")
	output, err := os.Stat(filepath.Join(host.Info().Dir, "init", "s-1.log"))
	require.NoError(t, err)
	require.LessOrEqual(t, output.Size(), int64(1<<20), "the log is bounded")
}
