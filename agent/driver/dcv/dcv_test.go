//go:build unix

package dcv_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/dcv"
	"opensessionmanager/messages"
)

const listing = `[{"id":"s-1","owner":"alice","user":"alice","name":"a \"name\"","num-of-connections":2,
 "creation-time":"2024-01-14T12:15:09.707728Z","last-disconnection-time":"","licensing-mode":"Demo",
 "licenses":[{"product":"dcv"}],"storage-root":"/home/alice","type":"virtual","status":"created",
 "x11-display":":1","display-layout":[{"width":800,"height":600,"x":0,"y":0}]},
 {"id":"console","owner":"root","type":"console","num-of-connections":"1","creation-time":"yesterday"}]`

func spec(change ...func(*messages.CreateSessionRequest)) *messages.CreateSessionRequest {
	s := &messages.CreateSessionRequest{SessionId: "s-1", Name: "my session", Owner: "alice", Type: "virtual"}
	for _, c := range change {
		c(s)
	}
	return s
}

func TestList_ReadsWhatTheVendorDocuments(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{"list-sessions": {Stdout: listing}})
	sessions, err := s.driver().List(t.Context())
	require.NoError(t, err)
	require.Len(t, sessions, 2)
	require.Equal(t, `a "name"`, sessions[0].GetName())
	require.Equal(t, int32(2), sessions[0].GetNumOfConnections())
	require.Equal(t, "2024-01-14T12:15:09.707728Z", sessions[0].GetCreationTime())
	require.Equal(t, ":1", sessions[0].GetX11Display())
	require.Equal(t, int32(1), sessions[1].GetNumOfConnections(), "numbers as text are numbers")
	require.Empty(t, sessions[1].GetCreationTime(), "what is no time is left out")
	require.Equal(t, []string{"list-sessions", "-j"}, s.calls()[0].Arguments)
}

func TestList_EmptyServer(t *testing.T) {
	t.Parallel()
	for _, printed := range []string{"", "[]", "There are no sessions available.\n", `{"sessions":[]}`} {
		s := newStage(t, map[string]act{"list-sessions": {Stdout: printed}})
		sessions, err := s.driver().List(t.Context())
		require.NoError(t, err, printed)
		require.Empty(t, sessions)
	}
}

func TestList_AsksForDetailsThatTheListLacks(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{
		"list-sessions":    {Stdout: `[{"id":"s-1"}]`},
		"describe-session": {Stdout: `{"id":"s-1","owner":"alice","type":"virtual"}`},
	})
	sessions, err := s.driver().List(t.Context())
	require.NoError(t, err)
	require.Equal(t, "alice", sessions[0].GetOwner())
}

func TestList_NonsenseIsAnError(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]act{
		"text":     {Stdout: "Segmentation fault"},
		"half":     {Stdout: `[{"id":"s-1"`},
		"too deep": {Stdout: strings.Repeat("[", 50_000)},
		"too much": {Stdout: strings.Repeat("x", 1<<20), Repeat: 9},
		"too many": {Stdout: "[" + strings.Repeat("{},", 5000) + "{}]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newStage(t, map[string]act{"list-sessions": a}).driver().List(t.Context())
			require.Error(t, err)
		})
	}
}

// C5, F9: every call says that the server is not running in the same way.
func TestErrors_HaveTheirMeaning(t *testing.T) {
	t.Parallel()
	create := func(d *dcv.Driver) error { return d.Create(context.Background(), spec()) }
	closing := func(d *dcv.Driver) error { return d.Close(context.Background(), "s-1") }
	for _, c := range []struct {
		command, said string
		call          func(*dcv.Driver) error
		want          error
	}{
		{"create-session", "Could not create session. The dcvserver service is not running.", create, driver.ErrNotRunning},
		{"create-session", `Could not create session. session "s-1" already exists.`, create, driver.ErrExists},
		{"create-session", `Could not create session. user "alice" does not exist`, create, driver.ErrOwnerUnknown},
		{"create-session", "Could not create session. the init script is not an executable file", create, driver.ErrBadFile},
		{"close-session", `Could not close session. session "s-1" was not found`, closing, driver.ErrNotFound},
		{"close-session", "Could not find session 's-1'", closing, driver.ErrNotFound},
		{"close-session", "The dcvserver service is not running.", closing, driver.ErrNotRunning},
	} {
		s := newStage(t, map[string]act{c.command: {Stderr: c.said + "\n", Exit: 1}})
		require.ErrorIs(t, c.call(s.driver()), c.want, c.said)
	}
}

func TestErrors_TellWhatDcvSaidOnOneLine(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{"close-session": {Stderr: "strange\r\n\x1b[31mthings\xff happened", Exit: 3}})
	err := s.driver().Close(t.Context(), "s-1")
	require.ErrorContains(t, err, "happened")
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "\x1b")
	require.Equal(t, messages.AgentFailed, driver.Code(err))
}

func TestErrors_MissingProgram(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	s.config.Command = filepath.Join(s.folder, "not-there")
	_, err := s.driver().List(t.Context())
	require.ErrorIs(t, err, driver.ErrNotRunning)
	_, err = dcv.New(dcv.Config{})
	require.Error(t, err)
}

// F31, C: the owner is not known to the system, though dcv said nothing useful.
func TestCreate_UnknownOwner(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("getent"); err != nil {
		t.Log("no getent on this system: the answer must still be a failure")
	}
	s := newStage(t, map[string]act{"create-session": {Stderr: "Failed.", Exit: 1}})
	err := s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.Owner = "nobody-has-this-name" }))
	require.Error(t, err)
	if _, lookErr := exec.LookPath("getent"); lookErr == nil {
		require.ErrorIs(t, err, driver.ErrOwnerUnknown)
	}
}

// A dcv that hangs is ended in time, with everything it started.
func TestRun_TimeoutKillsTheProcessGroup(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{"list-sessions": {Hang: true}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := s.driver().List(ctx)
		done <- err
	}()
	child := filepath.Join(s.folder, "child")
	require.Eventually(t, func() bool { _, err := os.Stat(child); return err == nil }, 30*time.Second, time.Millisecond,
		"the fake dcv must have started its child")
	cancel()
	require.ErrorIs(t, <-done, driver.ErrTimeout)
	content, err := os.ReadFile(child)
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(content))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ended(pid) }, 30*time.Second, time.Millisecond, "the child must die too")
}

// ended is true for a process that is gone, or that nobody has buried yet.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && strings.Contains(string(status), "State:\tZ")
}

func TestCreate_Arguments(t *testing.T) {
	t.Parallel()
	gl, clients := true, int32(4)
	s := newStage(t, nil)
	initFile := s.file("init/desktop/start.sh", "#!/bin/sh\n", 0o755)
	require.NoError(t, s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) {
		r.Name = "-n; rm -rf / $(id)" // F31: one argument, whatever it holds
		r.Owner = `CORP\alice; id`
		r.DcvGlEnabled, r.MaxConcurrentClients = &gl, &clients
		r.StorageRoot = "%home%/x"
		r.InitFile = "desktop/start.sh"
		r.PermissionsFile = []byte("[permissions]\n%owner% allow builtin\n")
	})))
	c := s.calls()[0]
	require.Equal(t, "[permissions]\n%owner% allow builtin\n", *c.Permissions)
	require.Equal(t, os.FileMode(0o600), c.Mode)
	i := indexOf(c.Arguments, "--permissions-file")
	require.NoFileExists(t, c.Arguments[i+1], "the permissions file is removed")
	c.Arguments[i+1] = "P"
	require.Equal(t, []string{"create-session", "--type", "virtual", "--name=-n; rm -rf / $(id)", "--owner", `CORP\alice; id`,
		"--user", `CORP\alice; id`, "--gl", "on", "--init", initFile, "--permissions-file", "P",
		"--storage-root", "%home%/x", "--max-concurrent-clients", "4", "s-1"}, c.Arguments)
}

func TestCreate_EmptyPermissionsAreNotNoPermissions(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	require.NoError(t, s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.PermissionsFile = []byte{} })))
	require.NotNil(t, s.calls()[0].Permissions)
	require.Empty(t, *s.calls()[0].Permissions)
}

func TestCreate_Console(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	console := func(r *messages.CreateSessionRequest) { r.Type = "console" }
	require.NoError(t, s.driver().Create(t.Context(), spec(console)))
	require.Equal(t, []string{"create-session", "--type", "console", "--name", "my session", "--owner", "alice", "s-1"}, s.calls()[0].Arguments)
	err := s.driver().Create(t.Context(), spec(console, func(r *messages.CreateSessionRequest) { r.AutorunFile = "x" }))
	require.ErrorIs(t, err, driver.ErrUnsupported)
	s.config.System = "windows"
	require.ErrorIs(t, s.driver().Create(t.Context(), spec()), driver.ErrUnsupported, "no virtual sessions on Windows")
}

func TestSetPermissions_PassesTheFileAndRemovesIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	require.NoError(t, s.driver().SetPermissions(t.Context(), "s-1", []byte("text")))
	c := s.calls()[0]
	require.Equal(t, "text", *c.Permissions)
	require.Equal(t, []string{"set-permissions", "--session", "s-1", "--file"}, c.Arguments[:4])
	left, err := os.ReadDir(s.config.WorkFolder)
	require.NoError(t, err)
	require.Empty(t, left)
}

// F45: what get-screenshot may print, and what it must not.
func TestScreenshot_Forms(t *testing.T) {
	t.Parallel()
	png := base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\nrest"))
	jpeg := base64.StdEncoding.EncodeToString([]byte("\xff\xd8\xffrest"))
	for name, c := range map[string]struct {
		printed string
		images  int
		format  string
	}{
		"array":       {`[{"format":"png","base64":"` + png + `"},{"format":"png","base64":"` + png + `"}]`, 2, "png"},
		"object":      {`{"format":"jpeg","base64":"` + jpeg + `","primary":true}`, 1, "jpeg"},
		"wrapped":     {`{"images":[{"base64":"` + png + `"}]}`, 1, "png"},
		"wrong label": {`{"format":"png","base64":"` + jpeg + `"}`, 1, "jpeg"},
		"none":        {`[]`, 0, ""},
		"text":        {`[{"base64":"aGVsbG8="}]`, 0, ""},
		"not base64":  {`[{"base64":"%%"}]`, 0, ""},
		"nothing":     {``, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, map[string]act{"get-screenshot": {Stdout: c.printed}})
			images, err := s.driver().Screenshot(t.Context(), driver.Shot{SessionID: "s-1", MaxWidth: 10, MaxHeight: 20, Format: "png"})
			if c.images == 0 {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Len(t, images, c.images)
			require.Equal(t, c.format, images[0].GetFormat())
			require.True(t, images[0].GetPrimary())
			require.Equal(t, []string{"get-screenshot", "--format", "png", "-j", "--max-width", "10", "--max-height", "20", "s-1"}, s.calls()[0].Arguments)
		})
	}
}

func TestServer_VersionAndEndpoints(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{
		"version":        {Stdout: "Amazon DCV 2024.0 (r19030)\nCopyright (C) 2010-2024"},
		"list-endpoints": {Stdout: `[{"ip-address":"127.0.0.1","port":8443,"protocol":"HTTP","web-url-path":"/dcv"},{"address":"0.0.0.0","port":"8443","protocol":"quic"},{"port":0}]`},
	})
	d := s.driver()
	server, err := d.Server(t.Context())
	require.NoError(t, err)
	require.Equal(t, "2024.0.19030", server.Version)
	require.Equal(t, "/dcv", server.WebURLPath)
	require.Len(t, server.Endpoints, 2)
	require.Equal(t, "127.0.0.1", server.Endpoints[0].GetIpAddress())
	require.Equal(t, "QUIC", server.Endpoints[1].GetProtocol())
	require.Empty(t, server.Endpoints[1].GetIpAddress(), "every address is no address")
	again, err := d.Server(t.Context())
	require.NoError(t, err)
	require.Same(t, server, again)
}

func TestServer_FallsBackToTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{"version": {Stdout: "2023.1.17701"}, "list-endpoints": {Stderr: "unknown command", Exit: 1}})
	server, err := s.driver().Server(t.Context())
	require.NoError(t, err)
	require.Equal(t, "2023.1.17701", server.Version)
	require.Len(t, server.Endpoints, 1)
	require.Equal(t, int32(8443), server.Endpoints[0].GetPort(), "the default without a dcv.conf")
	s.file("dcv.conf", "[connectivity]\nweb-port=9443\nweb-url-path=\"/desk\"\nenable-quic-frontend=true\nquic-listen-endpoints=['10.0.0.1:9000', '[::1]:9001']\n", 0o600)
	server, err = s.driver().Server(t.Context())
	require.NoError(t, err)
	require.Len(t, server.Endpoints, 3)
	require.Equal(t, int32(9443), server.Endpoints[0].GetPort())
	require.Equal(t, "/desk", server.WebURLPath)
	require.Equal(t, "10.0.0.1", server.Endpoints[1].GetIpAddress())
	require.Equal(t, "::1", server.Endpoints[2].GetIpAddress())
	require.Equal(t, "QUIC", server.Endpoints[2].GetProtocol())
}

func indexOf(list []string, s string) int {
	for i, v := range list {
		if v == s {
			return i
		}
	}
	return -1
}
