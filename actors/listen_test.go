package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// place asks for a place as a session's grain does.
func (w *world) place(sessionID, requirements string) *actor.Future {
	return w.deps.System.Root.RequestFuture(w.deps.Placer, &messages.PlaceSession{SessionId: sessionID, Owner: "ann",
		Type: messages.SessionType_SESSION_TYPE_VIRTUAL, Requirements: requirements}, dropTime)
}

func (w *world) noPlace(f *actor.Future, code string) {
	w.t.Helper()
	answer, err := f.Result()
	require.NoError(w.t, err)
	require.IsType(w.t, &messages.PlacementRefused{}, answer)
	require.Equal(w.t, code, answer.(*messages.PlacementRefused).GetRefusal().GetCode())
}

// A client that was shown a server by one broker creates at another, which has not heard
// of it yet.
func TestPlacer_AmongOthersListensBeforeItRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a", limited(1, -1)).connect()
	w.awaitServer("a", "to be available", func(s *messages.ServerView) bool {
		return s.GetAvailability() == messages.Availability_AVAILABILITY_AVAILABLE
	})
	w.handled("a")
	root, shown := w.deps.System.Root, w.server("a")
	newOther(w).sync(7)
	root.Send(w.deps.Placer, &serverGone{"a"})
	first, second := w.place("s-1", ""), w.place("s-2", "")
	w.noPlace(w.place("s-3", "nonsense"), messages.CodeRequirements) // which is answered behind them
	root.Send(w.deps.Placer, shown)
	w.clock.Advance(hearsay)
	answer, err := first.Result()
	require.NoError(t, err)
	require.IsType(t, &messages.PlacementGranted{}, answer)
	require.Equal(t, "a", answer.(*messages.PlacementGranted).GetServerId())
	w.noPlace(second, messages.CodeNoServer)
}

func TestPlacer_AloneRefusesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.noPlace(w.place("s-1", ""), messages.CodeNoServer)
	newOther(w)
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self"})
	w.rosterHandled()
	w.noPlace(w.place("s-1", ""), messages.CodeNoServer)
}

// The queue is told of every server that appears, and tries one session after the other.
func TestPlacer_KeepsTheQueueWaitingForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newOther(w).sync(7)
	queue := actor.NewFuture(w.deps.System, dropTime)
	w.deps.System.Root.Send(w.deps.Placer, &watchRoom{queue.PID()})
	w.deps.System.Root.RequestWithCustomSender(w.deps.Placer, &messages.PlaceSession{SessionId: "s-1", Owner: "ann"}, queue.PID())
	w.noPlace(queue, messages.CodeNoServer)
}
