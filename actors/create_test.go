package actors

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

func TestCreate_BecomesReadyOnAHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	view := w.create("s-1", "ann").(*messages.SessionView)
	require.Equal(t, creating, view.GetState())
	require.NotNil(t, w.view("s-1"), "after the answer every reader sees it (promise 2)")
	v := w.awaitState("s-1", ready)
	require.Equal(t, "a", v.GetServerId())
	require.Equal(t, []string{"s-1"}, h.running())
	w.awaitServer("a", "to count one session", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 1 })
}

func TestCreate_WithoutAServerIsRefusedWithReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refused(w.create("s-0", "ann"), messages.CodeNoServer)
	w.host("a", limited(0, 1)).connect()
	no := w.refused(w.create("s-1", "ann"), messages.CodeNoServer)
	require.Len(t, no.GetCounts(), 1)
	require.NotEmpty(t, no.GetDetail())
	require.Nil(t, w.view("s-1"))
	require.Empty(t, w.scan(RecordSession), "a refusal leaves nothing behind")
}

func TestCreate_RepeatedWithTheSameContentIsOneSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.accepted("s-1", "ann")
	w.refused(w.create("s-1", "bob"), messages.CodeKeyReused)
	require.Equal(t, []string{"s-1"}, h.running())
	require.Equal(t, 1, h.creates)
}

// F9, F10: a host that fails costs a retry on another one.
func TestCreate_FailedLaunchMovesToAnotherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.host("a")
	a.fail = messages.AgentDCVNotRunning
	a.connect()
	b := w.host("b").connect()
	w.accepted("s-1", "ann")
	require.Equal(t, "b", w.awaitState("s-1", ready).GetServerId())
	require.Equal(t, 1, a.creates, "the first by rank, and not again")
	require.Equal(t, []string{"s-1"}, b.running())
	w.awaitServer("a", "to have free slots", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
}

func TestCreate_GivesUpAfterTheRetriesAndSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.fail = messages.AgentOwnerUnknown
	h.connect()
	w.accepted("s-1", "nobody")
	v := w.awaitState("s-1", deleted)
	require.Equal(t, messages.CodeAgentFailed, v.GetReasonCode())
	require.Contains(t, v.GetStateReason(), messages.AgentOwnerUnknown)
	require.Equal(t, 3, h.creates, "one try and two retries")
	w.awaitServer("a", "to be empty", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
}

// Promise 6: a host that never answers does not hold a session for ever.
func TestCreate_SilentHostIsLeftAtTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.Retries = 0 })
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	w.clock.Advance(w.deps.Config.Session.Launch)
	require.Equal(t, messages.CodeAgentTimeout, w.awaitState("s-1", deleted).GetReasonCode())
	w.awaitServer("a", "to be empty", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
}

// Promise 5, F44: parallel creates never fill a server beyond its limits, and what
// does not fit is refused.
func TestCreate_ParallelCreatesNeverOverCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hosts []*host
	for i := range 4 {
		hosts = append(hosts, w.host(fmt.Sprint("h", i), limited(5, 2)).connect())
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for i := range 60 {
		all.Go(func() {
			if _, ok := w.create(fmt.Sprint("s-", i), fmt.Sprint("owner", i%5)).(*messages.SessionView); ok {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.Equal(t, 20, taken, "four servers with five sessions each")
	for _, h := range hosts {
		await(t, "all sessions", func() error {
			if n := len(h.running()); n != 5 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		require.LessOrEqual(t, h.most, 5)
		for owner, n := range w.server(h.id).GetVirtualByOwner() {
			require.LessOrEqual(t, n, int32(2), owner)
		}
	}
}

func TestCreate_ReservationOfABrokenCreateEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a", limited(1, 1)).connect()
	require.IsType(t, &messages.SlotReserved{}, w.ask(messages.KindServer, "a", &messages.ReserveSlot{
		ServerId: "a", SessionId: "lost", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL}))
	w.awaitServer("a", "to count the reservation", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 1 })
	w.refused(w.create("s-1", "bob"), messages.CodeNoServer)
	w.clock.Advance(w.deps.Config.Reservation + time.Second)
	w.awaitServer("a", "to be empty", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
	w.accepted("s-2", "bob")
}
