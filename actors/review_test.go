package actors

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func (w *world) awaitCount(id string, want int32) {
	w.t.Helper()
	w.awaitServer(id, fmt.Sprintf("to count %d", want), func(s *messages.ServerView) bool { return s.GetVirtualSessions() == want })
}

// handled waits until the server grain has handled everything told to it before.
func (w *world) handled(id string) {
	w.t.Helper()
	w.ask(messages.KindServer, id, &messages.ReserveSlot{ServerId: id, SessionId: "probe", Owner: "probe"})
}

// A grant that is repeated must not free the slot that the first one gave.
func TestGrant_SaidTwiceKeepsTheSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a", limited(1, -1)).connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.peers.Tell(messages.KindSession, "s-1", &messages.PlacementGranted{SessionId: "s-1", ServerId: "a", MachineId: "machine-a"}, nil)
	w.refused(w.delete("s-1", "bob", false), messages.CodeSessionNotFound) // behind the grant
	w.handled("a")
	w.refused(w.create("s-2", "ann"), messages.CodeNoServer)
	w.awaitCount("a", 1)
}

// A session that vanished while its host came back under a new name leaves no slot.
func TestSlot_OfASessionThatIsNotBoundHereIsFreed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	h.lose("s-1")
	h.id = "a2"
	h.restartAgent()
	h.connect()
	w.awaitState("s-1", deleted)
	await(t, "the slot to be freed", func() error {
		w.clock.Advance(strayTime / 2)
		h.report()
		if n := w.server("a2").GetVirtualSessions(); n != 0 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

// A report that was begun before a session was closed still lists it and arrives
// afterwards (F14): the session stays deleted.
func TestReport_OlderThanACloseDoesNotBringTheSessionBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	var old *messages.SessionsUpdateRequest
	h.set(func(h *host) {
		old = &messages.SessionsUpdateRequest{AsOf: h.sequence, Load: &messages.ServerLoad{DcvHealthy: true}, Sessions: []*messages.DcvSession{h.sessions["s-1"]}}
	})
	w.delete("s-1", "ann", false)
	w.awaitState("s-1", deleted)
	w.awaitCount("a", 0)
	version := w.server("a").GetVersion()
	h.link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: old}})
	w.awaitServer("a", "to have read the report", func(s *messages.ServerView) bool { return s.GetVersion() > version })
	w.refused(w.delete("s-1", "ann", false), messages.CodeSessionDeleted)
	require.Equal(t, deleted, w.view("s-1").GetState())
}

// A report that is cut off says nothing about what is missing on it.
func TestReport_TooLongEndsNoSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	long := &messages.SessionsUpdateRequest{AsOf: 99, Load: &messages.ServerLoad{DcvHealthy: true}}
	for i := range maxReported + 1 {
		long.Sessions = append(long.Sessions, &messages.DcvSession{Id: fmt.Sprint("\x01", i)}) // none is plausible
	}
	version := w.server("a").GetVersion()
	h.link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: long}})
	w.awaitServer("a", "to have read the report", func(s *messages.ServerView) bool { return s.GetVersion() > version })
	require.Equal(t, deleting, w.delete("s-1", "ann", false).(*messages.SessionView).GetState(), "it is still there")
	require.Len(t, w.scan(RecordSession), 1)
}

// A hostile agent cannot fill the store with sessions that nobody made, not even by
// reporting others each time.
func TestFound_TooManySessionsOfOneHostAreLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	for round := range 4 {
		h.set(func(h *host) {
			clear(h.sessions)
			for i := range 700 {
				id := fmt.Sprintf("fake-%d-%d", round, i)
				h.sessions[id] = &messages.DcvSession{Id: id, Owner: "mallory", Type: "virtual"}
			}
		})
		h.report()
		w.handled("a")
	}
	h.set(func(h *host) {
		h.sessions["long"] = &messages.DcvSession{Id: "long", Owner: strings.Repeat("x", maxOwner+1)}
	})
	h.report()
	w.handled("a")
	w.awaitRecords(RecordSession, maxExternal)
	require.Nil(t, w.view("long"))
}

// A made-up name that is taken as well is left out instead of asked for for ever.
func TestFound_AliasThatIsTakenIsLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.host("a")
	a.start("console", "ann", "console")
	a.connect()
	w.awaitState("console", ready)
	b := w.host("b")
	b.start("console", "bob", "console")
	b.connect()
	var alias string
	await(t, "the second console", func() error {
		for _, s := range w.deps.Roster.Snapshot().SessionsOn("b") {
			alias = s.View.GetId()
			return nil
		}
		return fmt.Errorf("not there")
	})
	mallory := w.host("m")
	mallory.machine = b.machine + "x"
	mallory.start(alias, "mallory", "console")
	mallory.connect()
	await(t, "the third to have a name of its own", func() error {
		if len(w.deps.Roster.Snapshot().SessionsOn("m")) == 0 {
			return fmt.Errorf("not there")
		}
		return nil
	})
	w.peers.Tell(messages.KindSession, alias, &messages.SessionFound{SessionId: alias, ServerId: "m", MachineId: mallory.machine,
		DcvSession: &messages.DcvSession{Id: "console"}, Alias: true}, nil)
	w.refused(w.delete(alias, "nobody", false), messages.CodeSessionNotFound) // behind it
	require.Equal(t, "b", w.view(alias).GetServerId())
}

// Somebody else's desktop is never closed because an agent says that it has it too,
// nor handed over while its own host is there.
func TestFound_SessionOfAnotherHostIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	b := w.host("b")
	b.start("s-1", "mallory", "virtual")
	b.connect()
	w.handled("b")
	w.refused(w.delete("s-1", "mallory", true), messages.CodeSessionNotFound)
	require.Equal(t, "a", w.view("s-1").GetServerId())
	require.Equal(t, []string{"s-1"}, a.running())
	require.Equal(t, []string{"s-1"}, b.running())
}

// A host that was away stays away over a restart of the broker.
func TestRestart_AwayServerIsNotTakenForAlive(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w := worldOver(t, store)
	h := w.host("a").connect()
	h.disconnect()
	w.awaitUnreachable("a")
	await(t, "that to be stored", func() error {
		var record messages.ServerRecord
		if err := proto.Unmarshal(w.scan(RecordServer)[0].Data, &record); err != nil || !record.GetUnreachable() {
			return fmt.Errorf("not yet: %v", err)
		}
		return nil
	})
	again := worldOver(t, store)
	again.refused(again.create("s-1", "ann"), messages.CodeNoServer)
	again.host("a").connect()
	again.accepted("s-2", "ann")
	again.awaitState("s-2", ready)
}

// A create that could not be made durable leaves its place in the queue.
func TestQueue_RefusedSaveLeavesNoOneInLine(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	w := worldOver(t, faulty.New(memory.New(), faulty.Config{Decide: func(faulty.Call) faulty.Fault {
		if failing.Load() {
			return faulty.Unavailable
		}
		return faulty.None
	}}), func(c *Config) { c.QueueSize = 2 })
	enqueue := func(s *messages.SessionSpec) { s.EnqueueRequest = true }
	failing.Store(true)
	for i := range 5 {
		w.refused(w.create(fmt.Sprint("lost-", i), "ann", enqueue), messages.CodeStoreUnavailable)
	}
	failing.Store(false)
	w.accepted("s-1", "ann", enqueue)
	w.accepted("s-2", "ann", enqueue)
	w.refused(w.create("s-3", "ann", enqueue), messages.CodeQueueFull)
}

// A link that ends without a word, as after a mistake of ours, is noticed.
func TestLink_ThatEndsWithoutAWordIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.deps.System.Root.Stop(h.link.pid)
	<-h.closed
	w.awaitUnreachable("a")
	h.connect()
}

// A refused create that the store holds nevertheless is ended (F41), unless the client
// asks again.
func TestCreate_RefusedInDoubtIsWithdrawn(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		lost := false
		w := worldOver(t, faulty.New(memory.New(), faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
			if c.Key.Kind == RecordSession && c.Method == faulty.Save && c.Nth == 0 {
				lost = true
				return faulty.AnswerLost
			}
			return faulty.None
		}}))
		h := w.host("a", limited(1, 1)).connect()
		w.refused(w.create("s-1", "ann"), messages.CodeStoreUnavailable)
		require.True(t, lost)
		if again {
			w.accepted("s-1", "ann")
			w.awaitState("s-1", ready)
			require.Equal(t, []string{"s-1"}, h.running())
			continue
		}
		await(t, "it to be withdrawn", func() error {
			w.clock.Advance(time.Second)
			if s := w.view("s-1").GetState(); s != deleted || len(h.running()) > 0 {
				return fmt.Errorf("%s, %v run", s, h.running())
			}
			return nil
		})
		w.awaitCount("a", 0)
	}
}

// Two requests with one id at once: the one with other content is refused.
func TestCreate_SameIdAtOnceWithOtherContentIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepted("s-1", "ann", func(s *messages.SessionSpec) { s.EnqueueRequest = true })
	w.refused(w.create("s-1", "bob"), messages.CodeKeyReused)
}

// What an agent says about a failure is cut at a whole character, or it could never
// be stored.
func TestCreate_LongReasonOfAnAgentIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.Retries = 0 })
	h := w.host("a")
	h.fail = strings.Repeat("é", 400)
	h.connect()
	w.accepted("s-1", "ann")
	require.Equal(t, messages.CodeAgentFailed, w.awaitState("s-1", deleted).GetReasonCode())
}

// The operator's time for sessions counts also where the server's is shorter (C25).
func TestServer_IsRememberedUntilTheTimeOfItsSessionsIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.DropServer, c.DropSessions = time.Minute, 10*time.Minute })
	h := w.host("a").connect()
	idle := w.host("b").connect()
	w.accepted("s-1", "ann", func(s *messages.SessionSpec) { s.Requirements = "tag:host='a'" })
	w.awaitState("s-1", ready)
	h.disconnect()
	idle.disconnect()
	began := w.clock.Now()
	await(t, "the server without sessions to be forgotten", func() error {
		w.clock.Advance(time.Second)
		if w.server("b") != nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
	require.Less(t, w.clock.Now().Sub(began), 5*time.Minute)
	await(t, "the session to be given up", func() error { w.clock.Advance(10 * time.Second); return stateIs(w, "s-1", deleted) })
	await(t, "the server to be forgotten", func() error {
		w.clock.Advance(time.Minute)
		if w.server("a") != nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
}

// A delete whose outcome is unknown happened after all: the server leaves the roster.
func TestServer_ForgottenInDoubtIsForgotten(t *testing.T) {
	t.Parallel()
	w := worldOver(t, faulty.New(memory.New(), faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if c.Key.Kind == RecordServer && c.Method == faulty.Delete {
			return faulty.AnswerLost
		}
		return faulty.None
	}}))
	w.host("a").connect().disconnect()
	await(t, "the server to be forgotten", func() error {
		w.clock.Advance(w.deps.Config.DropServer / 4)
		if w.server("a") != nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
}

// An agent whose session news was lost on the way says it again until it is known.
func TestReport_NewsThatWasLostIsToldAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.peers.Tell(messages.KindSession, "s-1", &messages.SessionUnreachable{SessionId: "s-1", ServerId: "a"}, nil)
	w.awaitState("s-1", unknown)
	h.report()
	w.awaitState("s-1", ready)
}

// Alarms that were replaced by earlier ones ring in vain: they do not multiply.
func TestServer_AlarmsDoNotMultiply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	for i := range 50 {
		h.disconnect()
		h.connect()
		w.ask(messages.KindServer, "a", &messages.ReserveSlot{ServerId: "a", SessionId: fmt.Sprint("s", i), Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL})
		w.clock.Advance(7 * time.Second)
		w.handled("a")
	}
	require.Less(t, w.clock.waiting(), 20)
}

func (c *manualClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.alarms)
}

// Unused reservations, sessions with a wish to be deleted and those on servers that
// were forgotten survive a restart as what they are.
func TestRestart_SessionOfAForgottenServerIsNotReady(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w := worldOver(t, store)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the server to be forgotten", func() error {
		w.clock.Advance(w.deps.Config.DropServer / 4)
		if len(w.scan(RecordServer)) > 0 {
			return fmt.Errorf("still there")
		}
		return nil
	})
	w.stop()
	again := worldOver(t, store)
	require.Equal(t, unknown, again.view("s-1").GetState())
	h.w = again
	h.connect()
	again.awaitState("s-1", ready)
}

// A refusal names what the request implied, not only what it said.
func TestCreate_AutorunOnALinuxConsoleSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a").connect()
	no := w.refused(w.create("s-1", "ann", func(s *messages.SessionSpec) {
		s.Type, s.AutorunFile = messages.SessionType_SESSION_TYPE_CONSOLE, "run.sh"
	}), messages.CodeNoServer)
	require.Contains(t, no.GetDetail(), "needs a Windows server")
}

// A session whose slot was lost still vanishes when its host does not have it.
func TestSlot_OfASessionThatIsBoundHereComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.peers.Tell(messages.KindServer, "a", &messages.ReleaseSlot{ServerId: "a", SessionId: "s-1"}, nil) // as nobody should
	w.awaitCount("a", 0)
	h.lose("s-1")
	await(t, "the session to be over", func() error {
		w.clock.Advance(strayTime / 2)
		h.report()
		return stateIs(w, "s-1", deleted)
	})
	require.Equal(t, messages.CodeVanished, w.view("s-1").GetReasonCode())
	w.awaitCount("a", 0)
}
