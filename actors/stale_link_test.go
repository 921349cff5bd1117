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
	h := w.host("a")
	sent, old := w.wire() // that does not notice its end
	hello := func(facts *messages.ServerFacts) *messages.HelloRequest {
		return &messages.HelloRequest{RequestId: "1", ProtocolVersion: &messages.ProtocolVersion{Major: 1}, ServerId: "a", MachineId: h.machine,
			BootId: h.boot, InstanceId: h.instance, Facts: facts}
	}
	old.Received(&messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: hello(h.facts)}})
	w.awaitServer("a", "to be reachable", (*messages.ServerView).GetReachable)
	h.connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)

	w.peers.Tell(messages.KindServer, "a", &messages.AgentAttached{ServerId: "a", Link: old.pid, Hello: hello(nil)}, old.pid)
	w.handled("a")
	old.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: &messages.SessionsUpdateRequest{
		RequestId: "old", AsOf: 1 << 40, Facts: h.facts, Load: &messages.ServerLoad{DcvHealthy: true}}}}) // the new owner knows no answers of before
	require.NotNil(t, (<-sent.sent).GetHelloResponse())
	for (<-sent.sent).GetSessionsUpdateResponse() == nil { // the question for a proof comes first
	}
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
