package actors

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

// maxReported bounds how many sessions of one report are looked at.
const maxReported = 10_000

// claim is a second agent that says to be this server, while the first is asked
// whether it still lives.
type claim struct {
	hello   *messages.AgentAttached
	sender  *actor.PID
	request string
}

func (g *serverGrain) onAttached(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	if g.link != nil && g.instance != m.GetHello().GetInstanceId() {
		g.onClaimed(ctx, m, sender)
		return
	}
	g.attach(ctx, m, sender)
}

// onClaimed: another agent process claims this identity. The socket may be a dead
// one of a host that was cut off, so the holder has to show that it lives (F13, F36).
func (g *serverGrain) onClaimed(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	if g.claim != nil {
		respond(ctx, sender, &messages.AgentRejected{Refusal: duplicateIdentity()})
		return
	}
	g.claim = &claim{hello: m, sender: sender, request: newRequestID()}
	g.describe(ctx, g.claim.request)
}

func (g *serverGrain) onProbed(ctx actor.Context, m *messages.DescribeResponse) {
	alive := m.GetResult().GetSuccess()
	if m.GetRequestId() == g.probe {
		g.probe = ""
		if alive {
			g.successor = ""
		} else if g.link != nil {
			ctx.Send(g.link, &linkReplaced{}) // its end makes way for the successor
		}
		return
	}
	claim := g.claim
	if claim == nil || claim.request != m.GetRequestId() {
		return
	}
	g.claim = nil
	if alive && g.link != nil {
		g.deps.Logger.Warn("two agents with one identity: the newcomer is turned away", "server", g.id,
			"machine", g.srv.MachineID, "client", claim.hello.GetAgentClientId())
		respond(ctx, claim.sender, &messages.AgentRejected{Refusal: duplicateIdentity()})
		return
	}
	g.attach(ctx, claim.hello, claim.sender)
}

func duplicateIdentity() *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeDuplicateIdentity, Detail: "a living agent already uses this identity"}
}

func (g *serverGrain) attach(ctx actor.Context, m *messages.AgentAttached, sender *actor.PID) {
	hello := m.GetHello()
	if g.link != nil && !g.link.Equal(m.GetLink()) {
		ctx.Send(g.link, &linkReplaced{})
	}
	g.rebooted = g.boot != "" && g.boot != hello.GetBootId()
	g.link, g.instance, g.boot = m.GetLink(), hello.GetInstanceId(), hello.GetBootId()
	g.lost, g.successor, g.probe = false, "", ""
	clear(g.inflight)
	clear(g.sent)
	g.srv.MachineID, g.srv.Facts, g.srv.Load, g.srv.Reachable = hello.GetMachineId(), hello.GetFacts(), hello.GetLoad(), true
	g.srv.Slots(func(s *server.Slot) { s.LastReply = 0 }) // the counter is the agent process's
	g.supersedeOlder(ctx)
	g.deps.Logger.Info("agent attached", "server", g.id, "host", hello.GetFacts().GetHostname(), "rebooted", g.rebooted)
	respond(ctx, sender, &messages.AgentAccepted{})
	for _, pending := range g.closes {
		g.sendClose(ctx, pending)
	}
	g.saveThen(ctx, nil, nil)
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

func (g *serverGrain) onSuperseded(ctx actor.Context, m *messages.ServerSuperseded) {
	if g.record == nil {
		return
	}
	g.successor = m.GetByServerId()
	if g.link == nil {
		g.endForSuccessor()
		return
	}
	g.deps.Logger.Warn("two servers with one machine identity: a cloned image, or a connection that is dead",
		"server", g.id, "other", m.GetByServerId(), "machine", g.srv.MachineID)
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
	if g.link == nil {
		return
	}
	g.takeOver(m.GetOldServerId())
	g.describe(ctx, newRequestID())
}

// describe has the agent send a report now.
func (g *serverGrain) describe(ctx actor.Context, requestID string) {
	ctx.Request(g.link, &messages.AgentFrame{Body: &messages.AgentFrame_DescribeRequest{
		DescribeRequest: &messages.DescribeRequest{RequestId: requestID}}})
}

func (g *serverGrain) onDetached(ctx actor.Context, m *messages.AgentDetached) {
	if g.link == nil || !g.link.Equal(m.GetLink()) {
		return
	}
	g.deps.Logger.Info("agent detached", "server", g.id, "reason", m.GetReason())
	g.link, g.away = nil, g.deps.Clock.Now()
	clear(g.inflight)
	clear(g.sent)
	g.arm(g.away.Add(g.deps.Config.Grace))
	if claim := g.claim; claim != nil {
		g.claim = nil
		g.attach(ctx, claim.hello, claim.sender)
	} else if g.successor != "" {
		g.endForSuccessor()
	}
}

func (g *serverGrain) onReported(ctx actor.Context, m *messages.AgentReported, sender *actor.PID) {
	if g.link == nil || !g.link.Equal(m.GetLink()) {
		return // an older socket's
	}
	report := m.GetReport()
	if len(report.GetSessions()) > maxReported {
		report = proto.CloneOf(report)
		report.Sessions = report.Sessions[:maxReported]
	}
	if report.GetFacts() != nil {
		if !proto.Equal(report.GetFacts(), g.srv.Facts) {
			g.srv.Facts = report.GetFacts()
		}
	}
	if report.GetLoad() != nil {
		g.srv.Load = report.GetLoad()
	}
	g.reconcile(ctx, report)
	g.saveThen(ctx, nil, nil)
	respond(ctx, sender, &messages.SessionsUpdateResponse{RequestId: report.GetRequestId(), Result: &messages.UpdateResult{Success: true}})
}

func (g *serverGrain) reconcile(ctx actor.Context, report *messages.SessionsUpdateRequest) {
	found := g.srv.Reconcile(report)
	if !report.GetLoad().GetDcvHealthy() {
		// An agent that cannot talk to dcvserver lists what it last saw: what is not
		// on that list is not known to be gone.
		found.Vanished, found.Missing = nil, nil
	}
	for _, s := range found.Launched {
		if _, underway := g.sent[s.Slot.SessionID]; underway || s.Slot.Phase == server.Reserved {
			continue // its own answer comes, or the session is not durable yet
		}
		g.launched(s.Slot, s.Session)
	}
	for _, s := range found.Changed {
		if s.Slot.Phase == server.Closing || !g.shownAlready(s) {
			g.sessionFound(s.Slot.SessionID, s.Session, false)
		}
	}
	for _, slot := range found.Missing {
		if launch := g.launches[slot.SessionID]; launch != nil {
			g.sendLaunch(ctx, launch)
		}
	}
	for _, slot := range found.Vanished {
		code, text := messages.CodeVanished, "its host no longer has the session"
		if g.rebooted {
			code, text = messages.CodeHostRestarted, "its host restarted"
		}
		g.tellSession(slot.SessionID, &messages.SessionVanished{SessionId: slot.SessionID, ServerId: g.boundTo(slot), Code: code, Reason: text})
	}
	for _, session := range found.Unclaimed {
		g.onUnclaimed(session)
	}
	g.rebooted = false
}

// shownAlready: readers see the session as the report has it; its grain need not wake.
func (g *serverGrain) shownAlready(s server.Sighting) bool {
	entry, ok := g.deps.views().Session(s.Slot.SessionID)
	return ok && entry.View.GetState() == messages.SessionState_SESSION_STATE_READY && entry.View.GetServerId() == g.id &&
		entry.View.GetNumOfConnections() == int64(s.Session.GetNumOfConnections()) && s.Session.GetLastDisconnectionTime() == "" &&
		entry.View.GetLastDisconnectionUnixMs() == 0 && s.Session.GetStorageRoot() == entry.View.GetStorageRoot()
}

func (g *serverGrain) onUnclaimed(session *messages.DcvSession) {
	if _, closing := g.closes[session.GetId()]; closing || !plausibleID(session.GetId()) {
		return
	}
	id, alias := g.aliases[session.GetId()], true
	if id == "" {
		id, alias = session.GetId(), false
	}
	g.sessionFound(id, session, alias)
}

func (g *serverGrain) sessionFound(id string, session *messages.DcvSession, alias bool) {
	g.tellSession(id, &messages.SessionFound{SessionId: id, ServerId: g.id, MachineId: g.srv.MachineID, DcvSession: session, Alias: alias})
}

// onTaken: another host's session holds this id (each host may have its `console`).
// From now on it is known as id@digest, the digest being this server's.
func (g *serverGrain) onTaken(ctx actor.Context, m *messages.SessionTaken) {
	digest := sha256.Sum256([]byte(g.srv.MachineID))
	g.aliases[m.GetDcvId()] = m.GetDcvId() + "@" + hex.EncodeToString(digest[:4])
	if g.link != nil { // have it reported again, now under that name
		g.describe(ctx, newRequestID())
	}
}

// plausibleID keeps what a host calls its sessions printable and short.
func plausibleID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, r := range id {
		if r < 0x21 || r == 0x7f || r == 0xfffd {
			return false
		}
	}
	return true
}
