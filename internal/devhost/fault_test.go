package devhost_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/viewer"
)

func TestFault_FailCreatesNextTimesOrUntilCleared(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	require.NoError(t, host.Inject(control.Fault{Kind: control.Fail, Times: 2, Message: "no licences"}))
	for i := range 3 {
		args := []string{"create-session", "--owner", "alice", fmt.Sprint("s-", i)}
		if i < 2 {
			require.Equal(t, "Could not create session. No licences.", refuseDCV(t, host, args...))
		} else {
			mustDCV(t, host, args...)
		}
	}
	require.NoError(t, host.Inject(control.Fault{Kind: control.Fail, Command: control.ListSessions}))
	for range 3 {
		refuseDCV(t, host, "list-sessions")
	}
	mustDCV(t, host, "describe-session", "s-2")
	host.ClearFaults()
	mustDCV(t, host, "list-sessions")
}

// Expectations C5 and F9: the server dies, its host lives.
func TestFault_StoppedServerSaysSo(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url, ConsoleOwner: "root"})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	v, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
	require.NoError(t, host.Inject(control.Fault{Kind: control.Stop}))
	require.ErrorContains(t, untilEnd(t, v), "server has stopped")
	require.Equal(t, "Could not create session. The dcvserver service is not running.",
		refuseDCV(t, host, "create-session", "--owner", "alice", "s-2"))
	require.Equal(t, "Could not list sessions. The dcvserver service is not running.", refuseDCV(t, host, "list-sessions"))
	mustDCV(t, host, "version")
	_, err = connect(t, host, b.grant(host, "s-1", "alice"))
	require.Error(t, err)
	require.False(t, host.Status().Running)

	require.NoError(t, host.Inject(control.Fault{Kind: control.Start}))
	require.Equal(t, "Session: 'console' (owner:root type:console)\n", mustDCV(t, host, "list-sessions"))
}

// Expectation F10: the host restarts while a session is being created.
func TestFault_RestartDuringCreate(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	require.NoError(t, host.Inject(control.Fault{Kind: control.Stall, Command: control.CreateSession, Times: 1}))
	answer := make(chan control.Answer, 1)
	go func() {
		answer <- host.Do(t.Context(), control.Request{
			Command: control.CreateSession, Session: "s-2", Create: &control.NewSession{Owner: "alice"},
		})
	}()
	await(t, "the command to stall", func() bool { return len(host.Status().Faults) == 0 })
	require.NoError(t, host.Inject(control.Fault{Kind: control.Restart}))
	require.Equal(t, "Could not create session. The dcvserver service is not running.", (<-answer).Error)
	require.Equal(t, "[]\n", mustDCV(t, host, "list-sessions", "-j"), "all sessions are gone, and it runs again")
}

func TestFault_StallEndsWhenClearedOrWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	require.NoError(t, host.Inject(control.Fault{Kind: control.Stall, Times: 1}))
	done := make(chan string, 1)
	go func() {
		answer, err := control.Call(context.Background(), host.Info().Socket, control.Request{Command: control.ListEndpoints})
		done <- fmt.Sprint(answer.Error, err)
	}()
	await(t, "the command to stall", func() bool { return len(host.Status().Faults) == 0 })
	host.ClearFaults()
	require.Equal(t, "<nil>", <-done)

	require.NoError(t, host.Inject(control.Fault{Kind: control.Stall}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := control.Call(ctx, host.Info().Socket, control.Request{Command: control.ListEndpoints})
	require.Error(t, err)
}

func TestFault_SlowAndStallWithATimeStillDoTheWork(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	require.NoError(t, host.Inject(control.Fault{Kind: control.Slow, DelayMillis: 20}))
	require.NoError(t, host.Inject(control.Fault{Kind: control.Stall, DelayMillis: 20, Times: 1}))
	begun := time.Now()
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	require.GreaterOrEqual(t, time.Since(begun), 40*time.Millisecond)
}

// Expectation F12: the host no longer has a session that others know.
func TestFault_LostSessionLeavesNoTrace(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	require.NoError(t, host.Inject(control.Fault{Kind: control.LoseSession, Session: "s-1"}))
	require.Error(t, host.Inject(control.Fault{Kind: control.LoseSession, Session: "s-1"}))
	require.Contains(t, refuseDCV(t, host, "close-session", "s-1"), "was not found")
}

func TestFault_RejectedClients(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	host := start(t, devhost.Config{VerifierURL: b.url})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	require.NoError(t, host.Inject(control.Fault{Kind: control.Reject, Times: 1, Message: "go away"}))
	_, err := connect(t, host, b.grant(host, "s-1", "alice"))
	require.ErrorIs(t, err, viewer.ErrRefused)
	require.ErrorContains(t, err, "go away")
	_, err = connect(t, host, b.grant(host, "s-1", "alice"))
	require.NoError(t, err)
}

func TestFault_GarbageIsNotJSON(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	for _, form := range control.Forms() {
		require.NoError(t, host.Inject(control.Fault{Kind: control.Garbage, Form: form, Times: 1}))
		output := mustDCV(t, host, "list-sessions", "-j")
		require.False(t, json.Valid([]byte(output)), form)
		require.Equal(t, form == "huge", len(output) > 1<<20)
	}
	require.True(t, json.Valid([]byte(mustDCV(t, host, "list-sessions", "-j"))))
}

func TestFault_BlankScreen(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	mustDCV(t, host, "create-session", "--owner", "alice", "s-1")
	bright := mustDCV(t, host, "get-screenshot", "s-1")
	require.NoError(t, host.Inject(control.Fault{Kind: control.Blank, Times: 1}))
	require.Less(t, len(mustDCV(t, host, "get-screenshot", "s-1"))*4, len(bright), "black compresses well")
}

func TestHost_KeepsSessionsOnlyIfAsked(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		cfg := devhost.Config{Dir: filepath.Join(t.TempDir(), "h"), KeepSessions: keep}
		first, err := devhost.Start(cfg)
		require.NoError(t, err)
		mustDCV(t, first, "create-session", "--owner", "alice", "--name", "desk", "--max-concurrent-clients", "3", "s-1")
		mustDCV(t, first, "set-display-layout", "--session", "s-1", "640x480")
		before := session(t, first, "s-1")
		certificate, err := os.ReadFile(first.Info().CertFile)
		require.NoError(t, err)
		_, err = devhost.Start(cfg)
		require.ErrorContains(t, err, "already served")
		require.NoError(t, first.Close())
		require.Equal(t, "Could not list sessions. The dcvserver service is not running.", refuseDCV(t, first, "list-sessions"))

		second := start(t, cfg)
		if !keep {
			require.Empty(t, second.Sessions())
			continue
		}
		after := session(t, second, "s-1")
		before.Licenses, after.Licenses = nil, nil // say when they were looked at
		require.Equal(t, before, after)
		same, err := os.ReadFile(second.Info().CertFile)
		require.NoError(t, err)
		require.Equal(t, certificate, same, "clients may go on trusting it")
	}
}

func TestHost_DamagedStateIsNotThrownAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, state := range []string{"{", `[{"id":"../x","type":"virtual"}]`, `[{"id":"x","type":"virtual","layout":"9x9"}]`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "sessions.json"), []byte(state), 0o600))
		_, err := devhost.Start(devhost.Config{Dir: dir, KeepSessions: true})
		require.ErrorContains(t, err, "damaged")
	}
}

func TestHost_SurvivesNonsenseOnItsSocket(t *testing.T) {
	t.Parallel()
	host := start(t, devhost.Config{})
	for _, nonsense := range []string{"\n", "{}\n", "{\"command\":\"explode\"}\n", strings.Repeat("[", 1<<20) + "\n",
		"{\"command\":\"create-session\"}\n", "{\"command\":\"inject-fault\"}\n", "{\"command\":\"set-config\"}\n"} {
		conn, err := net.Dial("unix", host.Info().Socket)
		require.NoError(t, err)
		_, err = io.WriteString(conn, nonsense)
		require.NoError(t, err)
		var answer control.Answer
		require.NoError(t, json.NewDecoder(conn).Decode(&answer))
		require.NotEmpty(t, answer.Error)
		require.NoError(t, conn.Close())
	}
	mustDCV(t, host, "list-sessions")
}
