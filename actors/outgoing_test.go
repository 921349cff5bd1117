package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// next is the next update for the other broker that says something.
func (o *otherRoster) next() *messages.RosterUpdate {
	o.w.t.Helper()
	for {
		if m := awaitGot[*messages.RosterUpdate](o); !isEmpty(m) {
			return m
		}
	}
}

// A server's picture goes with the session for which a place was taken, and only the newest.
func TestRoster_TellsTheNewestOfEachServerWithASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	o.hearsOf(&messages.ServerView{Id: "a", Version: 0})
	for _, version := range []int64{1, 2, 3} {
		w.deps.Roster.tell(&publishServer{view: &messages.ServerView{Id: "a", Version: version}})
	}
	w.rosterHandled()
	future := actor.NewFuture(w.deps.System, dropTime)
	w.deps.Roster.tell(&publishSession{view: viewOf("s", 1), replyTo: future.PID(), answer: &dropped{}})
	got := o.next()
	require.Len(t, got.GetServers(), 1)
	require.EqualValues(t, 3, got.GetServers()[0].GetVersion())
	require.Len(t, got.GetSessions(), 1)
	o.tell(&messages.RosterAck{From: "other", Sequence: got.GetSequence()})
	require.NoError(t, future.Wait())
}

// hearsOf: what decides whether a server takes sessions is told at once.
func (o *otherRoster) hearsOf(v *messages.ServerView) {
	o.w.t.Helper()
	o.w.deps.Roster.tell(&publishServer{view: v})
	require.Equal(o.w.t, v.GetVersion(), o.next().GetServers()[0].GetVersion())
}

// A client that was shown by one broker that a server is available creates at another.
func TestRoster_TellsAtOnceThatAServerIsAvailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	for i, availability := range []messages.Availability{
		messages.Availability_AVAILABILITY_UNAVAILABLE, messages.Availability_AVAILABILITY_AVAILABLE,
	} {
		o.hearsOf(&messages.ServerView{Id: "a", Version: int64(i + 1), Availability: availability})
	}
}

// Without one it is told soon.
func TestRoster_TellsOfAServerAlsoAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	o.hearsOf(&messages.ServerView{Id: "a", Version: 0})
	for version := range int64(3) {
		w.deps.Roster.tell(&publishServer{view: &messages.ServerView{Id: "a", Version: version + 1}})
		o.shows("")
		require.Equal(t, version+1, w.server("a").GetVersion(), "at once to readers here")
		w.clock.Advance(holdTime)
		require.Equal(t, version+1, o.next().GetServers()[0].GetVersion())
	}
}

// Pictures and removals of one object in one update leave what was told last.
func TestRoster_OneUpdateLeavesWhatWasToldLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 8, Sessions: []*messages.SessionView{viewOf("made again", 3), viewOf("gone", 2)},
		RemovedSessions: []*messages.Removal{{Id: "made again", Version: 2}, {Id: "gone", Version: 2}}})
	require.NotNil(t, o.shows("made again"))
	require.Nil(t, o.shows("gone"))
}

// Whoever sees a session here may go on at another broker.
func TestRoster_TellsOfSessionsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	w.deps.Roster.tell(&publishSession{view: viewOf("s", 1)})
	require.Equal(t, "s", o.next().GetSessions()[0].GetId())
}
