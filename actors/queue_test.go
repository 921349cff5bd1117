package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

func enqueued(s *messages.SessionSpec) { s.EnqueueRequest = true }

// There is room, but not for one more session of the first: who stands behind goes on.
func TestQueue_OwnerAtTheLimitHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a", limited(-1, 1)).connect()
	w.accepted("s-0", "ann", enqueued)
	w.awaitState("s-0", ready)
	w.accepted("s-1", "ann", enqueued)
	w.accepted("s-2", "bob", enqueued)
	h.report() // whatever a host says may mean room
	w.awaitState("s-2", ready)
	require.Equal(t, creating, w.view("s-1").GetState())
	w.delete("s-0", "ann", false)
	w.awaitState("s-1", ready)
}

// Another line does not wait for the first: they want different things.
func TestQueue_LinesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepted("s-1", "ann", enqueued, func(s *messages.SessionSpec) { s.Requirements = "tag:host='b'" })
	w.accepted("s-2", "ann", enqueued, func(s *messages.SessionSpec) { s.Requirements = "tag:host='a'" })
	w.host("a").connect()
	w.awaitState("s-2", ready)
	require.Equal(t, creating, w.view("s-1").GetState())
}

// A placer that was lost with its answer does not block a line for ever.
func TestQueue_AnswerThatWasLostDoesNotBlockTheLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deaf, dropped := w.deafPlacer()
	deaf.Store(true)
	w.host("a").connect()
	answer := make(chan any, 1)
	go func() { answer <- w.create("s-1", "ann", enqueued) }()
	<-dropped
	deaf.Store(false)
	w.clock.Advance((maxTries + 2) * reserveTime)
	w.peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.RoomChanged{}, nil)
	require.IsType(t, &messages.SessionView{}, <-answer)
	w.awaitState("s-1", ready)
}

// A session that may wait waits also for another host after its first one failed.
func TestQueue_TakesInAfterAFailedLaunch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann", enqueued)
	w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a", Force: true})
	w.peers.Tell(messages.KindSession, "s-1", &messages.SessionLaunchFailed{SessionId: "s-1", ServerId: "a", Code: messages.AgentFailed, Message: "no"}, nil)
	await(t, "the session to wait", func() error {
		// Readers see the same of a session that has not got into the queue yet, and
		// that one's time may be over.
		if s := w.record("s-1"); s.GetState() != string(session.Queued) {
			return fmt.Errorf("%v", s)
		}
		return nil
	})
	for range 10 {
		w.clock.Advance(w.deps.Config.Session.Placement / 5)
		w.handled("a")
	}
	require.Equal(t, creating, w.view("s-1").GetState())
	h.set(func(h *host) { h.silent = false })
	w.ask(messages.KindServer, "a", &messages.OpenServer{ServerId: "a"})
	await(t, "the session to be placed again", func() error { w.clock.Advance(time.Second); return stateIs(w, "s-1", ready) })
}

// The queue has taken it in and its word of that was lost: who asks again is told again.
func TestQueue_TellsAgainThatItHasASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.between()
	n.loseNext(&messages.PlacementQueued{})
	future := actor.NewFuture(w.deps.System, 10*time.Second)
	w.peers.Tell(messages.KindSession, "s-1", &messages.CreateSession{SessionId: "s-1",
		Spec: &messages.SessionSpec{Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL, EnqueueRequest: true}}, future.PID())
	<-n.lost
	w.wakes(messages.KindSession, "s-1")
	answer, err := future.Result()
	require.NoError(t, err)
	require.IsType(t, &messages.SessionView{}, answer)
	require.Equal(t, string(session.Queued), w.record("s-1").GetState())
}

// An accepted session seeks another host and the queue's word is lost: its time for that
// is not over while it stands in the queue.
func TestQueue_TellsAgainThatItHasASessionThatSeeksAnotherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.between()
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann", enqueued)
	w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a", Force: true})
	n.loseNext(&messages.PlacementQueued{})
	w.peers.Tell(messages.KindSession, "s-1", &messages.SessionLaunchFailed{SessionId: "s-1", ServerId: "a", Code: messages.AgentFailed, Message: "no"}, nil)
	<-n.lost
	w.wakes(messages.KindSession, "s-1")
	await(t, "the session to wait", func() error {
		if s := w.record("s-1"); s.GetState() != string(session.Queued) {
			return fmt.Errorf("%v", s)
		}
		return nil
	})
}
