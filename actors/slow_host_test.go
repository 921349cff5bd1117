package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// Promises 1 and 5: a host that is slow to make a session does not report it yet. When
// it is deleted meanwhile its place is taken until the host has closed it: the agent
// would refuse whoever was given it.
func TestDelete_OfASessionThatIsStillBeingMadeKeepsItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a", limited(1, -1))
	h.silent = true // it makes the session, slowly
	h.connect()
	w.accepted("s-1", "ann")
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", true))
	h.report()
	w.handled("a") // and what that told the session stands before the next question
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", true), "it is not over")
	w.refused(w.create("s-2", "bob"), messages.CodeNoServer)

	h.disconnect()
	h.set(func(h *host) { h.silent = false })
	h.connect() // the close is sent again
	w.awaitState("s-1", deleted)
	w.awaitCount("a", 0)
	w.accepted("s-2", "bob")
	require.Equal(t, "a", w.awaitState("s-2", ready).GetServerId())
}

// The same holds for a server whose grain moved to another broker meanwhile.
func TestDelete_OfASessionThatIsStillBeingMadeKeepsItsPlaceAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a", limited(1, -1))
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", true))
	w.stop()
	w = worldOver(t, w.store)
	h.w = w
	h.connect()
	h.report()
	w.handled("a")
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", true), "it is not over")
	w.refused(w.create("s-2", "bob"), messages.CodeNoServer)
}
