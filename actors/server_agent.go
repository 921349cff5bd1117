package actors

import (
	"cmp"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

func (g *serverGrain) onAttached(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	switch {
	case g.strange(m):
		g.turnAway(ctx, m, sender, g.id, "the server or its machine belongs to another agent client")
	case g.link != nil && g.instance != m.GetHello().GetInstanceId():
		g.onClaimed(ctx, m, sender)
	case g.link == nil && g.record == nil && g.askElders(ctx, m, sender):
		// the answer of the elder decides
	default:
		g.attach(ctx, m, sender)
	}
}

// strange: not the agent client that first used this server id, or another server id
// of the same machine. The ids are no secret, the client's is (F13, F36). An agent that
// had to register again makes itself a new identity when it is told so.
func (g *serverGrain) strange(m *messages.AgentAttached) bool {
	if foreign(g.record.GetAgentClientId(), m.GetAgentClientId()) {
		return true
	}
	for _, other := range g.deps.views().ServersOfMachine(m.GetHello().GetMachineId()) {
		if foreign(other.View.GetAgentClientId(), m.GetAgentClientId()) {
			return true
		}
	}
	return false
}

// foreign: two agent clients that are known and differ. With agent authorization off
// there are none, and every agent is believed.
func foreign(owner, client string) bool { return owner != "" && client != "" && owner != client }

func (g *serverGrain) onProbed(ctx actor.Context, m *messages.DescribeResponse) {
	alive := m.GetResult().GetSuccess()
	g.heard = g.deps.Clock.Now()
	if m.GetRequestId() == g.proof && g.proof != "" {
		g.onProof(ctx, m.GetSequence() > 0) // an answer that the link made up has no number
		return
	}
	if m.GetRequestId() == g.probe {
		g.probe = ""
		askers := g.askers
		g.askers = nil
		if alive {
			for _, asker := range askers {
				respond(ctx, asker, &messages.ServerKept{ServerId: g.successor, OldServerId: g.id})
			}
			g.successor = ""
		} else if g.link != nil {
			ctx.Send(g.link, &messages.LinkReplaced{}) // its end makes way for the successor
		}
		return
	}
	g.onClaimProbed(ctx, m.GetRequestId(), alive)
}

func (g *serverGrain) attach(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	hello := m.GetHello()
	if g.link != nil && !g.link.Equal(m.GetLink()) {
		ctx.Unwatch(g.link)
		ctx.Send(g.link, &messages.LinkReplaced{})
	}
	ctx.Watch(m.GetLink())                   // also one that ended before we knew of it says so, if it is of this broker
	if g.instance != hello.GetInstanceId() { // the reply counter is the agent process's
		clear(g.ended)
		g.srv.Slots(func(s *server.Slot) { s.LastReply = 0 })
	}
	g.rebooted = g.boot != "" && g.boot != hello.GetBootId()
	g.link, g.instance, g.boot, g.client = m.GetLink(), hello.GetInstanceId(), hello.GetBootId(), m.GetAgentClientId()
	g.srv.ClientID = cmp.Or(m.GetAgentClientId(), g.srv.ClientID)
	g.lost, g.successor, g.probe, g.askers, g.asked = false, "", "", nil, false
	clear(g.inflight)
	clear(g.sent)
	clear(g.closing)
	g.heard = g.deps.Clock.Now()
	g.listenLater()
	g.srv.MachineID, g.srv.Reachable = hello.GetMachineId(), true
	g.srv.Load = cmp.Or(hello.GetLoad(), g.srv.Load)                            // absent where a link found a new owner; a report follows
	if hello.GetFacts() != nil && !proto.Equal(hello.GetFacts(), g.srv.Facts) { // else the stored ones stay, and are kept once
		g.srv.Facts = hello.GetFacts()
	}
	g.supersedeOlder(ctx)
	g.deps.Logger.Info("agent attached", "server", g.id, "host", hello.GetFacts().GetHostname(), "rebooted", g.rebooted)
	respond(ctx, sender, &messages.AgentAccepted{})
	for _, pending := range g.closes {
		g.sendClose(ctx, pending)
	}
	g.proof, g.unproven = "", nil
	if hello.GetFacts() == nil {
		g.demandProof(ctx)
	}
	g.saveThen(ctx, nil, nil)
}

// demandProof: a link that had said hello before found us anew. Its broker may have been
// paused, and what it reads from the socket now may have been sent long ago: until the
// agent answers a question of ours no report of it makes a session vanish.
func (g *serverGrain) demandProof(ctx actor.Context) {
	g.proof, g.proving = cmp.Or(g.proof, newRequestID()), g.deps.Clock.Now()
	g.describe(ctx, g.proof)
}

// onProof: the report before the answer was made after the question, and is believed now.
func (g *serverGrain) onProof(ctx actor.Context, given bool) {
	g.proving = time.Time{}
	if !given {
		return // asked again with the next report
	}
	g.proof = ""
	if report := g.unproven; report != nil {
		g.unproven = nil
		g.reconcile(ctx, report)
	}
}

// supersedeOlder ends what the same machine was called before (contract section 4,
// duplicate servers), unless somebody still speaks for it: then an image was cloned
// together with its identity, and both stay (F13).
func (g *serverGrain) supersedeOlder(ctx actor.Context) {
	for _, old := range g.deps.views().ServersOfMachine(g.srv.MachineID) {
		if id := old.View.GetId(); id != g.id {
			g.deps.Peers.Tell(messages.KindServer, id, &messages.ServerSuperseded{ServerId: id, ByServerId: g.id}, nil)
		}
	}
}

func (g *serverGrain) onSuperseded(ctx actor.Context, m *messages.ServerSuperseded, sender *actor.PID) {
	if g.record == nil {
		g.retireIfEmpty()
		return
	}
	g.successor = m.GetByServerId()
	if g.link == nil {
		g.endForSuccessor()
		return
	}
	g.deps.Logger.Warn("two servers with one machine identity: a cloned image, or a connection that is dead",
		"server", g.id, "other", m.GetByServerId(), "machine", g.srv.MachineID)
	if sender != nil {
		g.askers = append(g.askers, sender)
	}
	g.probe = newRequestID()
	g.describe(ctx, g.probe)
}

func (g *serverGrain) endForSuccessor() {
	if g.saving || g.busy {
		g.arm(g.deps.Clock.Now().Add(time.Second))
		return
	}
	g.deps.Logger.Info("server superseded by the same machine", "server", g.id, "by", g.successor)
	g.erase()
}

// onEnded: the sessions of the old entry are expected here from now on.
func (g *serverGrain) onEnded(ctx actor.Context, m *messages.ServerEnded) {
	if claim := g.claim; claim != nil && claim.elders[m.GetOldServerId()] {
		delete(claim.elders, m.GetOldServerId())
		if len(claim.elders) > 0 {
			return
		}
		g.claim = nil
		g.attach(ctx, claim.hello, claim.sender)
	}
	if g.link == nil {
		return
	}
	g.takeOver(m.GetOldServerId())
	g.askForReport(ctx)
}

// askForReport has a report sent soon, once for however many reasons.
func (g *serverGrain) askForReport(ctx actor.Context) {
	if g.link != nil && !g.asked {
		g.asked = true
		g.describe(ctx, newRequestID())
	}
}

// describe has the agent send a report now.
func (g *serverGrain) describe(ctx actor.Context, requestID string) {
	ctx.Request(g.link, &messages.AgentFrame{Body: &messages.AgentFrame_DescribeRequest{
		DescribeRequest: &messages.DescribeRequest{RequestId: requestID}}})
}

// onBrokerLeft: a link on a broker that is gone says no word any more.
func (g *serverGrain) onBrokerLeft(ctx actor.Context, m *messages.BrokerLeft) {
	if g.link != nil && slices.Contains(m.GetAddresses(), g.link.GetAddress()) {
		g.onDetached(ctx, &messages.AgentDetached{ServerId: g.id, Link: g.link, Reason: "its broker left the fleet"})
	}
}

func (g *serverGrain) onDetached(ctx actor.Context, m *messages.AgentDetached) {
	if g.claim != nil && g.claim.hello.GetLink().Equal(m.GetLink()) {
		g.claim = nil // who claimed the identity did not wait for the answer
		g.retireIfEmpty()
	}
	if g.link == nil || !g.link.Equal(m.GetLink()) {
		return
	}
	ctx.Unwatch(g.link)
	g.deps.Logger.Info("agent detached", "server", g.id, "reason", m.GetReason())
	g.link, g.away = nil, g.deps.Clock.Now()
	clear(g.inflight)
	clear(g.sent)
	clear(g.closing)
	g.arm(g.away.Add(g.deps.Config.Grace))
	if claim := g.claim; claim != nil {
		g.claim = nil
		g.attach(ctx, claim.hello, claim.sender)
	} else if g.successor != "" {
		g.endForSuccessor()
	}
}
