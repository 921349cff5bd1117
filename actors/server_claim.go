package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// claim is an agent that says to be this server, or a machine that is known under other
// ids, while those are asked whether they still live (F13, F36). A disk image that was
// copied with its identity shows that of a living agent; a host that was cut off, or has
// another name or address now, shows that of a dead one.
type claim struct {
	hello   *messages.AgentAttached
	sender  *actor.PID
	request string          // of the probe, if it is this server's agent that is asked
	elders  map[string]bool // other servers that are asked
	due     time.Time       // when nobody's answer is waited for any more
}

// onClaimed: another agent process claims this identity. The socket may be a dead
// one of a host that was cut off, so the holder has to show that it lives.
func (g *serverGrain) onClaimed(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	if g.claim != nil {
		g.turnAway(ctx, m, sender, g.id, "another agent claims this identity at the same time")
		return
	}
	// The link answers within Probe, in the agent's place if need be, unless it ended on
	// another broker and its last word was lost.
	g.claim = &claim{hello: m, sender: sender, request: newRequestID(), due: g.deps.Clock.Now().Add(2 * g.deps.Config.Probe)}
	g.describe(ctx, g.claim.request)
	g.arm(g.claim.due)
}

func (g *serverGrain) onClaimProbed(ctx actor.Context, request string, alive bool) {
	claim := g.claim
	if claim == nil || claim.request == "" || claim.request != request {
		return
	}
	g.claim = nil
	if alive && g.link != nil {
		g.turnAway(ctx, claim.hello, claim.sender, g.id, "a living agent already uses this identity")
		return
	}
	g.attach(ctx, claim.hello, claim.sender)
}

// askElders asks the reachable servers of the same machine before a new one is let in
// beside them, and says whether there are any. Once in, both would be one machine, and
// the first that is away for a moment would lose its sessions to the other.
func (g *serverGrain) askElders(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) bool {
	if g.claim != nil && g.claim.hello.GetHello().GetInstanceId() != m.GetHello().GetInstanceId() {
		g.turnAway(ctx, m, sender, g.id, "another agent claims this identity at the same time")
		return true
	}
	elders := map[string]bool{}
	for _, other := range g.deps.views().ServersOfMachine(m.GetHello().GetMachineId()) {
		if id := other.View.GetId(); id != g.id && other.View.GetReachable() {
			elders[id] = true
		}
	}
	if len(elders) == 0 {
		return false
	}
	// An elder has Probe to show that it lives, and its broker may be of a version that
	// does not answer.
	g.claim = &claim{hello: m, sender: sender, elders: elders, due: g.deps.Clock.Now().Add(2 * g.deps.Config.Probe)}
	for id := range elders {
		g.deps.Peers.Tell(messages.KindServer, id, &messages.ServerSuperseded{ServerId: id, ByServerId: g.id}, g.self)
	}
	g.arm(g.claim.due)
	return true
}

// onKept: an elder lives, so who wants in is a copy.
func (g *serverGrain) onKept(ctx actor.Context, m *messages.ServerKept) {
	claim := g.claim
	if claim == nil || !claim.elders[m.GetOldServerId()] {
		return
	}
	g.claim = nil
	g.turnAway(ctx, claim.hello, claim.sender, m.GetOldServerId(), "a living agent already uses this identity")
	g.retireIfEmpty()
}

// onClaimDue lets in who was not answered for.
func (g *serverGrain) onClaimDue(ctx actor.Context, now time.Time) {
	claim := g.claim
	if claim == nil {
		return
	}
	if now.Before(claim.due) {
		g.arm(claim.due)
		return
	}
	g.claim = nil
	g.attach(ctx, claim.hello, claim.sender)
}

// turnAway has an agent take another identity, and tells of both.
func (g *serverGrain) turnAway(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID, keeper, reason string) {
	hello := m.GetHello()
	keeperHost, keeperAddress := "", ""
	if other, ok := g.deps.views().Server(keeper); ok {
		keeperHost, keeperAddress = other.View.GetFacts().GetHostname(), other.View.GetFacts().GetIp()
	}
	copied := Copy{ServerID: keeper, MachineID: hello.GetMachineId(), ClientID: m.GetAgentClientId(),
		Host: clipped(hello.GetFacts().GetHostname()), Address: clipped(hello.GetFacts().GetIp()), Reason: reason}
	g.deps.Logger.Warn("two agents with one identity, as after copying a disk image: the newcomer is turned away and has to take another",
		"server", keeper, "machine", copied.MachineID, "host", keeperHost, "address", keeperAddress,
		"newcomer_host", copied.Host, "newcomer_address", copied.Address, "newcomer_client", copied.ClientID, "reason", reason)
	if g.deps.Copied != nil {
		g.deps.Copied(copied)
	}
	respond(ctx, sender, &messages.AgentRejected{Refusal: &messages.Refusal{Code: messages.CodeDuplicateIdentity, Detail: reason}})
}
