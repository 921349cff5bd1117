package actors

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// F13, F36: neither a server id nor a machine id, which are no secrets, can be claimed
// by another agent client, also while the rightful agent is away.
func TestIdentity_ServerOfAnotherAgentClientIsNotGivenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.awaitRecords(RecordServer, 1)
	h.disconnect()
	thief := w.host("a")
	thief.machine, thief.client = "machine-of-mallory", "client-2"
	welcome := thief.hello()
	require.Equal(t, messages.CodeDuplicateIdentity, welcome.GetResult().GetCode())
	thief.machine = h.machine
	require.Equal(t, messages.CodeDuplicateIdentity, thief.hello().GetResult().GetCode())
	thief.id = "b"
	require.Equal(t, messages.CodeDuplicateIdentity, thief.hello().GetResult().GetCode())
	h.connect()
	w.awaitState("s-1", ready)
}

// A session is not handed to whoever says to run it while its own server is away.
func TestIdentity_SessionsOfAnAwayServerAreNotGivenToAnotherClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.disconnect()
	await(t, "the server to be given up", func() error { w.clock.Advance(time.Second); return stateIs(w, "s-1", unknown) })
	thief := w.host("b")
	thief.client = "client-2"
	thief.start("s-1", "ann", "virtual")
	thief.connect()
	w.handled("b")
	require.Equal(t, "a", w.view("s-1").GetServerId())
	require.Equal(t, []string{"s-1"}, thief.running(), "nor is anything closed on a doubt")
	h.connect()
	w.awaitState("s-1", ready)
}

// Who claimed an identity and went away before the answer is not let in.
func TestIdentity_ClaimantThatWentAwayIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	h.set(func(h *host) { h.silent = true })
	twin := w.host("a")
	twin.machine = h.machine
	twin.dial()
	twin.disconnect()
	w.handled("a")
	w.clock.Advance(w.deps.Config.Probe) // the holder did not answer in time
	w.handled("a")
	h.disconnect()
	w.awaitUnreachable("a")
}

// An operator who turns agent authorization off locks out nobody.
func TestIdentity_WithoutAgentClientsEverybodyIsBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.awaitRecords(RecordServer, 1)
	h.disconnect()
	h.client = ""
	h.connect()
}
