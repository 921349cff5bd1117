package actors

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

// Promises 1 and 5: the broker that had reserved the place dies, and somebody else gets
// it before the accepted session is launched. It waits for the next place.
func TestCreate_AcceptedSessionThatLostItsPlaceWaitsForAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a", limited(1, -1)).connect()
	w.accepted("s-1", "bob")
	w.awaitState("s-1", ready)
	w.storedElsewhere("s-2", "ann", "a") // with a reservation that nobody knows of any more
	w.peers.Tell(messages.KindSession, "s-2", &messages.Wake{}, nil)
	await(t, "the accepted session to be shown without a place", func() error {
		if v := w.view("s-2"); v.GetSubstate() != messages.SessionSubstate_SESSION_SUBSTATE_PLACING {
			return session.ErrRefused
		}
		return nil
	})
	w.clock.Advance(placePause)
	w.handled("a")
	require.Equal(t, []string{"s-1"}, h.running())

	w.delete("s-1", "bob", false)
	w.awaitState("s-1", deleted)
	await(t, "the place to be given to who waits", func() error {
		w.clock.Advance(placePause)
		if v := w.view("s-2"); v.GetState() != ready {
			return session.ErrRefused
		}
		return nil
	})
	require.Equal(t, []string{"s-2"}, h.running())
}

// Promise 6: not for ever.
func TestCreate_AcceptedSessionThatLostItsPlaceSaysWhyInTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a", limited(0, -1)).connect()
	w.storedElsewhere("s-2", "ann", "a")
	w.peers.Tell(messages.KindSession, "s-2", &messages.Wake{}, nil)
	await(t, "the session to end", func() error {
		w.clock.Advance(time.Second)
		if v := w.view("s-2"); v.GetState() != deleted {
			return session.ErrRefused
		}
		return nil
	})
	require.Equal(t, messages.CodeServerFull, w.view("s-2").GetReasonCode())
}
