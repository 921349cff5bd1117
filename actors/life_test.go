package actors

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func TestDelete_EndsOnTheHostAndStaysVisibleForItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.refused(w.delete("s-1", "bob", false), messages.CodeSessionNotFound)
	require.Equal(t, deleting, w.delete("s-1", "ann", false).(*messages.SessionView).GetState())
	w.awaitState("s-1", deleted)
	require.Empty(t, h.running())
	w.refused(w.delete("s-1", "ann", true), messages.CodeSessionDeleted)
	w.clock.Advance(w.deps.Config.Session.KeepDeleted)
	await(t, "it to be forgotten", func() error {
		if v := w.view("s-1"); v != nil || len(w.scan(RecordSession)) > 0 {
			return fmt.Errorf("%v", v)
		}
		return nil
	})
	w.refused(w.delete("s-1", "ann", false), messages.CodeSessionNotFound)
}

// F42: deleting while the host is still at it, twice.
func TestDelete_DuringCreateHasOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	require.Equal(t, deleting, w.delete("s-1", "ann", false).(*messages.SessionView).GetState())
	require.Equal(t, deleting, w.delete("s-1", "ann", false).(*messages.SessionView).GetState(), "idempotent")
	h.disconnect() // what was sent is lost; the host comes back and is asked again
	h.set(func(h *host) { h.silent = false })
	h.connect()
	w.awaitState("s-1", deleted)
	require.Empty(t, h.running())
	w.awaitServer("a", "to be empty", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
}

// F8: the agent is away, the desktop lives.
func TestServer_AwayMakesItsSessionsUnknownUntilItIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the server to notice", func() error { w.clock.Advance(time.Second); return stateIs(w, "s-1", unknown) })
	require.Equal(t, messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT, w.server("a").GetUnavailabilityReason())
	w.refused(w.create("s-2", "ann"), messages.CodeNoServer)
	h.connect()
	w.awaitState("s-1", ready)
}

func stateIs(w *world, id string, want messages.SessionState) error {
	if got := w.view(id).GetState(); got != want {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}

// C25: the key was ignored by the vendor's broker for years.
func TestServer_AwayTooLongIsForgottenButItsSessionsAreNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the server to be forgotten", func() error {
		w.clock.Advance(w.deps.Config.DropServer / 4)
		if w.server("a") != nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
	require.Equal(t, unknown, w.view("s-1").GetState())
	require.Empty(t, w.scan(RecordServer))
	h.connect()
	w.awaitState("s-1", ready)
	require.Equal(t, []string{"s-1"}, h.running())
}

func TestServer_SessionsOfAnUnreachableServerEndIfTheOperatorWantsThat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.DropSessions = 10 * time.Minute })
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the session to be given up", func() error { w.clock.Advance(time.Minute); return stateIs(w, "s-1", deleted) })
	require.Equal(t, messages.CodeUnreachable, w.view("s-1").GetReasonCode())
}

// F11: what runs on a host is listed and can be deleted, whoever made it.
func TestFound_SessionsMadeOnTheHostAreAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.start("console", "ubuntu", "console")
	h.connect()
	v := w.awaitState("console", ready)
	require.True(t, v.GetExternal())
	require.Empty(t, v.GetName())
	require.Equal(t, "ubuntu", v.GetOwner())
	w.awaitServer("a", "to count it", func(s *messages.ServerView) bool { return s.GetConsoleSessions() == 1 })
	require.Equal(t, deleting, w.delete("console", "ubuntu", false).(*messages.SessionView).GetState())
	w.awaitState("console", deleted)
	require.Empty(t, h.running())
}

func TestFound_TwoHostsWithAConsoleSessionHaveTwoIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"a", "b"} {
		h := w.host(id)
		h.start("console", "ubuntu", "console")
		h.connect()
	}
	await(t, "two sessions", func() error {
		if n := w.deps.Roster.Snapshot().CountSessions(); n != 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	w.awaitServer("a", "to count one", func(s *messages.ServerView) bool { return s.GetConsoleSessions() == 1 })
	w.awaitServer("b", "to count one", func(s *messages.ServerView) bool { return s.GetConsoleSessions() == 1 })
}

// F12.
func TestVanished_SessionThatAHostLostIsDeletedWithTheReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.lose("s-1")
	h.report()
	require.Equal(t, messages.CodeVanished, w.awaitState("s-1", deleted).GetReasonCode())
	w.awaitServer("a", "to be empty", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 0 })
}

// C4: the host rebooted.
func TestVanished_AfterARebootTheReasonSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	h.lose("s-1")
	h.boot = "boot-2"
	h.restartAgent()
	h.connect()
	require.Equal(t, messages.CodeHostRestarted, w.awaitState("s-1", deleted).GetReasonCode())
}

// F10: a reboot in the middle of a create is one more try.
func TestCreate_HostThatLostTheCommandGetsItAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	h.disconnect()
	h.set(func(h *host) { h.silent = false })
	h.connect()
	w.awaitState("s-1", ready)
	require.Equal(t, []string{"s-1"}, h.running())
}

func TestServer_ClosedTakesNothingAndStaysClosedAfterARestart(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w := worldOver(t, store)
	w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.refused(w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a"}), messages.CodeServerHasSessions)
	view := w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a", Force: true}).(*messages.ServerView)
	require.Equal(t, messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED, view.GetUnavailabilityReason())
	w.refused(w.create("s-2", "ann"), messages.CodeNoServer)
	require.Equal(t, ready, w.view("s-1").GetState(), "what runs goes on")

	again := worldOver(t, store)
	require.True(t, again.server("a").GetClosed())
	again.host("a").connect()
	again.refused(again.create("s-3", "ann"), messages.CodeNoServer)
	again.ask(messages.KindServer, "a", &messages.OpenServer{ServerId: "a"})
	again.accepted("s-4", "ann")
}

// Promise 1: what was answered is there after the process is gone, in every state.
func TestRestart_GoesOnWhereItStood(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w := worldOver(t, store)
	a := w.host("a", limited(2, -1)).connect()
	w.accepted("ready", "ann")
	w.awaitState("ready", ready)
	a.set(func(h *host) { h.silent = true })
	w.accepted("placed", "ann")
	enqueue := func(s *messages.SessionSpec) { s.EnqueueRequest = true }
	w.accepted("queued", "ann", enqueue)
	w.delete("ready", "ann", false)

	again := worldOver(t, store)
	require.Equal(t, deleting, again.view("ready").GetState())
	require.Equal(t, creating, again.view("placed").GetState())
	require.Equal(t, creating, again.view("queued").GetState())
	b := again.host("a", limited(2, -1))
	b.start("ready", "ann", "virtual")
	b.connect()
	again.awaitState("ready", deleted)
	again.awaitState("placed", ready)
	again.awaitState("queued", ready)
	require.Equal(t, []string{"placed", "queued"}, b.running())
	require.LessOrEqual(t, b.most, 2)
}

// Two agents with one identity (F13): the living one keeps it.
func TestIdentity_SecondAgentIsTurnedAwayWhileTheFirstLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	twin := w.host("a")
	twin.machine = h.machine
	welcome := twin.hello()
	require.False(t, welcome.GetResult().GetSuccess())
	require.Equal(t, messages.CodeDuplicateIdentity, welcome.GetResult().GetCode())
	<-twin.closed
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	require.Equal(t, []string{"s-1"}, h.running())
}

// C2, F7: a socket that looks alive and is not.
func TestIdentity_DeadSocketIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	h.set(func(h *host) { h.silent = true }) // nobody answers on the old socket
	reborn := w.host("a")
	reborn.machine = h.machine
	answered := make(chan *messages.HelloResponse, 1)
	go func() { answered <- reborn.hello() }()
	var welcome *messages.HelloResponse
	await(t, "the new socket to be let in", func() error {
		select {
		case welcome = <-answered:
			return nil
		default:
			w.clock.Advance(time.Second)
			return fmt.Errorf("not yet")
		}
	})
	require.True(t, welcome.GetResult().GetSuccess())
	<-h.closed
}

// Duplicate servers (contract section 4): a machine under a new name takes its
// sessions along.
func TestIdentity_MachineUnderANewServerIDKeepsItsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	h.id = "a2"
	h.restartAgent()
	h.connect()
	await(t, "the session to have moved", func() error {
		if v := w.view("s-1"); v.GetServerId() != "a2" || v.GetState() != ready {
			return fmt.Errorf("%v", v)
		}
		return nil
	})
	await(t, "the old entry to end", func() error {
		if w.server("a") != nil {
			w.clock.Advance(time.Second) // it was being saved when it was told, and looks again
			return fmt.Errorf("still there")
		}
		return nil
	})
	require.Equal(t, []string{"s-1"}, h.running())
	w.awaitServer("a2", "to count it", func(s *messages.ServerView) bool { return s.GetVirtualSessions() == 1 })
}

func TestQueue_WaitsForRoomFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.QueueSize = 2 })
	enqueue := func(s *messages.SessionSpec) { s.EnqueueRequest = true }
	w.host("a", limited(1, -1)).connect()
	w.accepted("s-0", "ann", enqueue)
	w.awaitState("s-0", ready)
	w.accepted("s-1", "ann", enqueue)
	w.clock.Advance(time.Second)
	w.accepted("s-2", "ann", enqueue)
	w.refused(w.create("s-3", "ann", enqueue), messages.CodeQueueFull)
	require.Equal(t, messages.SessionSubstate_SESSION_SUBSTATE_PLACING, w.view("s-1").GetSubstate())
	w.delete("s-0", "ann", false)
	w.awaitState("s-1", ready)
	require.Equal(t, creating, w.view("s-2").GetState())
	w.delete("s-1", "ann", false)
	w.awaitState("s-2", ready)
}

func TestQueue_FailsAfterItsTimeAndLeavesOnDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.QueueSize = 1 })
	enqueue := func(s *messages.SessionSpec) { s.EnqueueRequest = true }
	w.accepted("s-1", "ann", enqueue)
	w.clock.Advance(w.deps.Config.Session.Queue)
	require.Equal(t, messages.CodeQueueTimeout, w.awaitState("s-1", deleted).GetReasonCode())
	w.accepted("s-2", "ann", enqueue)
	w.delete("s-2", "ann", false)
	w.awaitState("s-2", deleted)
	w.accepted("s-3", "ann", enqueue) // the place is free again
	w.host("a").connect()
	w.awaitState("s-3", ready)
}

// A save that fails, or of which nobody knows whether it happened, is not answered
// with success; what is in the store decides, and it converges.
func TestStore_DoubtfulSavesAreNeverAnsweredWithSuccess(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	inner := memory.New()
	dice := faulty.Seeded(seed, faulty.Odds{Unavailable: 0.1, AnswerLost: 0.1, RequestLost: 0.1})
	var failing atomic.Bool
	w := worldOver(t, faulty.New(inner, faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if !failing.Load() {
			return faulty.None
		}
		return dice(c)
	}}))
	h := w.host("a").connect()
	failing.Store(true)
	accepted := map[string]bool{}
	for i := range 60 {
		id := fmt.Sprint("s-", i)
		_, ok := w.create(id, "ann").(*messages.SessionView)
		accepted[id] = ok
	}
	failing.Store(false)
	for id, ok := range accepted {
		if ok {
			await(t, id+" to be ready", func() error { w.clock.Advance(time.Second); return stateIs(w, id, ready) })
		}
	}
	await(t, "the host to have what the broker shows", func() error {
		w.clock.Advance(time.Second)
		h.report()
		for _, id := range h.running() {
			if w.view(id) == nil {
				return fmt.Errorf("%s runs and is not shown", id)
			}
		}
		return nil
	})
}
