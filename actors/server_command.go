package actors

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

// inflight is a command whose answer has not come.
type inflight struct {
	sessionID string
	dcvID     string
}

// codeLinkLost marks an answer that the link made up because the socket went away:
// the agent may or may not have done it.
const codeLinkLost = "LINK_LOST"

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

func (g *serverGrain) onLaunch(ctx actor.Context, m *messages.LaunchSession) {
	slot := g.srv.Slot(m.GetSessionId())
	switch {
	case g.record == nil && g.link == nil:
		g.launchFailed(m.GetSessionId(), messages.CodeServerNotFound, "the server is not known any more")
		g.retireIfEmpty()
		return
	case slot == nil:
		// The reservation ran out, or moved away with an activation: ask again, for
		// somebody else may have the room now.
		if no := g.srv.Reserve(m.GetSessionId(), m.GetSpec().GetOwner(), m.GetSpec().GetType(), g.deps.Clock.Now()); no != nil {
			g.launchFailed(m.GetSessionId(), no.GetCode(), no.GetDetail())
			return
		}
		slot = g.srv.Slot(m.GetSessionId())
		g.publish(nil, nil)
	case slot.Phase == server.Live:
		g.tellSession(m.GetSessionId(), &messages.SessionLaunched{SessionId: m.GetSessionId(), ServerId: g.id, DcvSession: slot.Seen()})
		return
	}
	slot.Phase, slot.DCVID = server.Launching, m.GetDcvId()
	delete(g.closes, m.GetDcvId()) // a close that is still owed was of an earlier try
	delete(g.closing, m.GetDcvId())
	g.launches[m.GetSessionId()] = m
	if g.lost {
		g.launchFailed(m.GetSessionId(), messages.CodeUnreachable, "the agent of the server is away")
		return
	}
	g.sendLaunch(ctx, m)
}

// sendLaunch may be called again and again: the command or its answer may be lost between
// brokers, and both the link and the agent know a copy by its id. An agent that is still
// at it does nothing more, and one that has answered answers again.
func (g *serverGrain) sendLaunch(ctx actor.Context, m *messages.LaunchSession) {
	if g.link == nil {
		return // after the next attach the first report shows whether it is missing
	}
	requestID := cmp.Or(g.sent[m.GetSessionId()], newRequestID())
	spec := m.GetSpec()
	kind := "virtual"
	if spec.GetType() == messages.SessionType_SESSION_TYPE_CONSOLE {
		kind = "console"
	}
	request := &messages.CreateSessionRequest{
		RequestId: requestID, SessionId: m.GetDcvId(), Name: spec.GetName(), Owner: spec.GetOwner(), Type: kind,
		InitFile: spec.GetInitFile(), AutorunFile: spec.GetAutorunFile(), AutorunFileArguments: spec.GetAutorunFileArguments(),
		DcvGlEnabled: spec.DcvGlEnabled, PermissionsFile: spec.PermissionsFile, StorageRoot: spec.GetStorageRoot(),
	}
	if spec.MaxConcurrentClients != nil {
		clients := int32(min(spec.GetMaxConcurrentClients(), 1<<30))
		request.MaxConcurrentClients = &clients
	}
	g.inflight[requestID] = inflight{sessionID: m.GetSessionId(), dcvID: m.GetDcvId()}
	g.sent[m.GetSessionId()] = requestID
	ctx.Request(g.link, &messages.AgentFrame{Body: &messages.AgentFrame_CreateSessionRequest{CreateSessionRequest: request}})
}

func (g *serverGrain) onCreated(ctx actor.Context, m *messages.CreateSessionResponse) {
	command, ours := g.inflight[m.GetRequestId()]
	if !ours {
		return // answered before, or of an older socket (F14)
	}
	delete(g.inflight, m.GetRequestId())
	slot, latest := g.srv.Slot(command.sessionID), g.sent[command.sessionID] == m.GetRequestId()
	if latest {
		delete(g.sent, command.sessionID)
	}
	if slot == nil || g.launches[command.sessionID] == nil || !latest {
		return // given up meanwhile; the next report shows it if it came to be
	}
	slot.LastReply = max(slot.LastReply, m.GetSequence())
	result := m.GetResult()
	switch {
	case result.GetSuccess():
		g.launched(slot, m.GetSession())
	case result.GetCode() == codeLinkLost || result.GetCode() == messages.AgentTimeout && m.GetSequence() == 0:
		// Nobody knows; the next report or the session's own deadline decides.
	default:
		g.launchFailed(command.sessionID, messages.CodeAgentFailed, result.GetCode()+": "+clip(result.GetError()))
	}
}

func (g *serverGrain) launched(slot *server.Slot, session *messages.DcvSession) {
	slot.Phase = server.Live
	slot.See(session)
	delete(g.launches, slot.SessionID)
	if g.boundTo(slot) != g.id {
		g.sessionFound(slot.SessionID, session, false) // its host came back under this id meanwhile
		return
	}
	g.tellSession(slot.SessionID, &messages.SessionLaunched{SessionId: slot.SessionID, ServerId: g.id, DcvSession: session})
}

// launchFailed tells the session, which seeks another host. It frees the slot once it
// has stored that it leaves: until then the store binds it here.
func (g *serverGrain) launchFailed(sessionID, code, text string) {
	delete(g.launches, sessionID)
	delete(g.sent, sessionID)
	g.tellSession(sessionID, &messages.SessionLaunchFailed{SessionId: sessionID, ServerId: g.id, Code: code, Message: text})
}

func (g *serverGrain) onClose(ctx actor.Context, m *messages.CloseSession) {
	if slot := g.srv.Slot(m.GetSessionId()); slot != nil && slot.DCVID == m.GetDcvId() {
		slot.Phase = server.Closing
	}
	delete(g.launches, m.GetSessionId())
	if g.record == nil && g.link == nil {
		g.tellSession(m.GetSessionId(), &messages.SessionCloseFailed{SessionId: m.GetSessionId(), ServerId: g.id,
			Code: messages.CodeUnreachable, Message: "its server is not known any more"})
		g.retireIfEmpty()
		return
	}
	g.closes[m.GetDcvId()] = m
	g.sendClose(ctx, m)
}

// sendClose may be called again and again, as sendLaunch.
func (g *serverGrain) sendClose(ctx actor.Context, m *messages.CloseSession) {
	if g.link == nil {
		return // owed until the agent is back
	}
	request := &messages.DeleteSessionRequest{RequestId: cmp.Or(g.closing[m.GetDcvId()], newRequestID()), SessionId: m.GetDcvId()}
	g.closing[m.GetDcvId()] = request.GetRequestId()
	g.inflight[request.GetRequestId()] = inflight{sessionID: m.GetSessionId(), dcvID: m.GetDcvId()}
	ctx.Request(g.link, &messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionRequest{DeleteSessionRequest: request}})
}

func (g *serverGrain) onDeleted(ctx actor.Context, m *messages.DeleteSessionResponse) {
	command, ours := g.inflight[m.GetRequestId()]
	if !ours {
		return
	}
	delete(g.inflight, m.GetRequestId())
	if g.closing[command.dcvID] == m.GetRequestId() {
		delete(g.closing, command.dcvID)
	}
	result := m.GetResult()
	if result.GetCode() == codeLinkLost {
		return // sent again when the agent is back
	}
	slot := g.srv.Slot(command.sessionID)
	mine := slot != nil && slot.DCVID == command.dcvID && slot.Phase == server.Closing
	bound := g.id
	if mine {
		slot.LastReply = max(slot.LastReply, m.GetSequence())
		bound = g.boundTo(slot)
	}
	delete(g.closes, command.dcvID)
	if result.GetSuccess() || result.GetCode() == messages.AgentNotFound {
		// The slot stays until the session has stored its end: if that fails, the next
		// report, which lacks it, tells it again.
		g.ended[command.dcvID] = m.GetSequence()
		g.tellSession(command.sessionID, &messages.SessionClosed{SessionId: command.sessionID, ServerId: bound})
		return
	}
	g.tellSession(command.sessionID, &messages.SessionCloseFailed{SessionId: command.sessionID, ServerId: bound,
		Code: messages.CodeAgentFailed, Message: result.GetCode() + ": " + clip(result.GetError())})
}

// remind sends again what the agent was told and has not answered.
func (g *serverGrain) remind(ctx actor.Context) {
	for id := range g.sent {
		if launch := g.launches[id]; launch != nil {
			g.sendLaunch(ctx, launch)
		}
	}
	for _, owed := range g.closes {
		g.sendClose(ctx, owed)
	}
	if g.link != nil && g.proof != "" {
		g.demandProof(ctx)
	}
}

// onCommand relays a command whose answer goes straight to the asker.
func (g *serverGrain) onCommand(ctx actor.Context, m *messages.ServerCommand, sender *actor.PID) {
	if g.link == nil {
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeUnreachable, Detail: "the agent of the server cannot be reached", RetryAfterMs: 1000})
		g.retireIfEmpty()
		return
	}
	frame := &messages.AgentFrame{}
	switch c := m.GetCommand().(type) {
	case *messages.ServerCommand_SetPermissions:
		if c.SetPermissions.RequestId == "" { // of a broker that does not tell copies apart
			c.SetPermissions.RequestId = newRequestID()
		}
		frame.Body = &messages.AgentFrame_SetPermissionsRequest{SetPermissionsRequest: c.SetPermissions}
	case *messages.ServerCommand_Screenshot:
		c.Screenshot.RequestId = newRequestID()
		frame.Body = &messages.AgentFrame_ScreenshotRequest{ScreenshotRequest: c.Screenshot}
	default:
		unhandled(g.deps, "server", m)
		return
	}
	ctx.RequestWithCustomSender(g.link, frame, sender)
}

// clip bounds what an agent may say about a failure, whole characters only: text that
// is cut inside of one could not be stored.
func clip(text string) string {
	const most = 300
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
