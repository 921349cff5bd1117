package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// Promise 3, F4: a broker that was paused reads what an agent sent it long ago, and its
// link finds the server's new owner. What such a report lacks is not gone.
func TestLink_ThatWasPausedMakesNoSessionVanish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	old := h.link
	var before *messages.SessionsUpdateRequest
	h.set(func(h *host) {
		// as for an owner that knows no answers of before
		before = &messages.SessionsUpdateRequest{RequestId: "old", AsOf: 1 << 40, Facts: h.facts, Load: &messages.ServerLoad{DcvHealthy: true}}
	})
	h.set(func(h *host) { h.socket = nil }) // the network has lost the old socket; nobody told its link
	fresh := h.dial()
	require.True(t, (<-fresh.welcome).GetResult().GetSuccess())
	h.report()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)

	w.peers.Tell(messages.KindServer, "a", &messages.AgentAttached{ServerId: "a", Link: old.pid, AgentClientId: h.client,
		Hello: &messages.HelloRequest{ServerId: "a", MachineId: h.machine, BootId: h.boot, InstanceId: h.instance}}, old.pid)
	old.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: before}})
	w.handled("a")
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", false), "it was there until now")
}

// A link that lives is believed as soon as the agent has answered.
func TestLink_ThatFoundANewOwnerIsBelievedWhenTheAgentAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.lose("s-1")
	w.peers.Tell(messages.KindServer, "a", &messages.AgentAttached{ServerId: "a", Link: h.link.pid, AgentClientId: h.client,
		Hello: &messages.HelloRequest{ServerId: "a", MachineId: h.machine, BootId: h.boot, InstanceId: h.instance}}, h.link.pid)
	w.awaitState("s-1", deleted)
}
