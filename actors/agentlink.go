package actors

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// WebSocket close codes (RFC 6455 section 7.4.1) as links use them.
const (
	closePolicy   = 1008
	closeTryLater = 1013
)

// Socket is one agent's connection. Send never blocks: a socket whose queue is full
// closes itself.
type Socket interface {
	Send(*messages.AgentFrame) error
	Close(code int, reason string)
	RemoteAddr() string
}

// Links makes a link for each new socket.
type Links struct {
	deps *Deps
	open sync.Map // by PID id
}

// NewLinks is the door through which sockets reach the actors.
func NewLinks(d *Deps) *Links { return &Links{deps: d} }

// Link is the socket's way to its actor. Both methods may be called from the pump.
type Link struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

// Attach starts the actor of a socket. clientID is who registered the agent, empty
// with agent authorization off.
func (l *Links) Attach(socket Socket, clientID string) (*Link, error) {
	pid := l.deps.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &agentLink{deps: l.deps, links: l, socket: socket, clientID: clientID, pending: map[string]*pendingCommand{}}
	}, actor.WithReceiverMiddleware(guarded(l.deps, "agent link"))))
	if pid == nil {
		return nil, errors.New("actors: agent link could not be started")
	}
	l.open.Store(pid.GetId(), pid)
	return &Link{system: l.deps.System, pid: pid}, nil
}

// OwnersMoved has the links of servers that moved say hello to the new owner.
func (l *Links) OwnersMoved(moved func(kind, id string) bool) {
	l.open.Range(func(_, pid any) bool {
		l.deps.System.Root.Send(pid.(*actor.PID), &ownersMoved{moved})
		return true
	})
}

// Received hands on a frame from the agent.
func (l *Link) Received(frame *messages.AgentFrame) {
	l.system.Root.Send(l.pid, &frameReceived{frame})
}

// Closed ends the link; the socket is gone.
func (l *Link) Closed(reason string) { l.system.Root.Send(l.pid, &socketClosed{reason}) }

type (
	frameReceived  struct{ frame *messages.AgentFrame }
	socketClosed   struct{ reason string }
	commandOverdue struct{ requestID string }
	// ownersMoved: the view changed. A link whose server has another owner now says
	// hello to it in the agent's name.
	ownersMoved struct{ moved func(kind, id string) bool }
)

type pendingCommand struct {
	asker *actor.PID
	frame *messages.AgentFrame
	sent  bool // it takes up one of the agent's places
}

const (
	// maxUnderway bounds the commands an agent has at once; the others wait here. A
	// thousand deletes at once would overflow the socket's queue, which closes it.
	maxUnderway = 64
	// maxPending bounds what waits. More is answered as if the link were lost: every
	// asker has its own way to ask again.
	maxPending = 8192
)

// agentLink speaks the protocol on one socket: versions, correlation, deadlines. It
// knows no business rule.
type agentLink struct {
	deps     *Deps
	links    *Links
	socket   Socket
	clientID string

	serverID string // empty until hello was accepted
	hello    *messages.HelloRequest
	greeting *messages.HelloRequest // all of hello, until it was accepted
	accepted bool
	over     bool // the server grain was told that this is the end
	pending  map[string]*pendingCommand
	outbox   []string // ids of commands that wait for their turn
	underway int
}

func (l *agentLink) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *frameReceived:
		l.onFrame(ctx, m.frame)
	case *messages.AgentFrame:
		l.onCommand(ctx, m)
	case *messages.SessionsUpdateResponse:
		l.send(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateResponse{SessionsUpdateResponse: m}})
	case *messages.AgentAccepted:
		l.onAccepted()
	case *messages.AgentRejected:
		l.reject(m.GetRefusal().GetCode(), m.GetRefusal().GetDetail())
	case *messages.Refusal:
		l.onRefusal(ctx, m)
	case *commandOverdue:
		l.onOverdue(ctx, m)
	case *ownersMoved:
		l.onOwnersMoved(ctx, m)
	case *messages.LinkReplaced:
		l.socket.Close(closePolicy, "a newer connection of the same agent took over")
	case *socketClosed:
		l.end(ctx, m.reason)
		ctx.Stop(ctx.Self())
	case *actor.Stopping:
		l.links.open.Delete(ctx.Self().GetId())
		l.end(ctx, "the broker ended it")
		l.socket.Close(closeTryLater, "the broker ended it")
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		unhandled(l.deps, "agent link", m)
	}
}

func (l *agentLink) onFrame(ctx actor.Context, frame *messages.AgentFrame) {
	if hello := frame.GetHelloRequest(); hello != nil {
		l.onHello(ctx, hello)
		return
	}
	if !l.accepted {
		l.socket.Close(closePolicy, "the first frame must be helloRequest")
		return
	}
	if report := frame.GetSessionsUpdateRequest(); report != nil {
		l.deps.Peers.Tell(messages.KindServer, l.serverID, &messages.AgentReported{ServerId: l.serverID, Report: report, Link: ctx.Self()}, ctx.Self())
		return
	}
	id, answer := responseOf(frame)
	if answer == nil {
		l.deps.Logger.Debug("agent sent a frame that is no answer and no report", "server", l.serverID)
		return
	}
	if command := l.take(id); command != nil {
		respond(ctx, command.asker, answer)
		l.sendNext(ctx)
	}
}

func (l *agentLink) onHello(ctx actor.Context, hello *messages.HelloRequest) {
	switch {
	case l.hello != nil:
		l.socket.Close(closePolicy, "hello was said already")
	case !messages.AgentProtocol().WorksWith(hello.GetProtocolVersion()):
		l.hello = hello
		l.rejectVersion(hello)
	case !plausibleID(hello.GetServerId(), 380) || !plausibleID(hello.GetMachineId(), 64) || !plausibleID(hello.GetInstanceId(), 64):
		l.hello = hello
		l.reject(messages.AgentBadRequest, "serverId, machineId or instanceId is missing, too long or not printable")
	case proto.Size(hello.GetFacts()) > maxFacts:
		l.hello = hello
		l.reject(messages.AgentBadRequest, "facts are larger than 64 KiB")
	default:
		// What it says of the host belongs to the server; a link lives as long as it, and
		// keeps only who the agent is, to say so to another owner.
		l.hello, l.serverID = &messages.HelloRequest{RequestId: hello.GetRequestId(), ServerId: hello.GetServerId(),
			MachineId: hello.GetMachineId(), BootId: hello.GetBootId(), InstanceId: hello.GetInstanceId()}, hello.GetServerId()
		l.greeting = hello
		l.attach(ctx, hello)
	}
}

func (l *agentLink) onAccepted() {
	if l.accepted { // a new activation of the server: it has to hear what there is
		l.send(&messages.AgentFrame{Body: &messages.AgentFrame_DescribeRequest{DescribeRequest: &messages.DescribeRequest{RequestId: newRequestID()}}})
		return
	}
	l.accepted, l.greeting = true, nil
	l.send(l.helloResponse(&messages.Result{Success: true}))
}

// onRefusal: the server's grain failed on our hello or report, or it is a new one that
// has not heard our hello.
func (l *agentLink) onRefusal(ctx actor.Context, m *messages.Refusal) {
	if m.GetCode() == messages.CodeNotReady && l.accepted && !l.over {
		l.attach(ctx, l.hello)
		return
	}
	l.socket.Close(closeTryLater, m.GetCode())
}

func (l *agentLink) onOwnersMoved(ctx actor.Context, m *ownersMoved) {
	if l.serverID != "" && !l.over && m.moved(messages.KindServer, l.serverID) {
		l.attach(ctx, cmp.Or(l.greeting, l.hello))
	}
}

// attach makes the link known to the server's grain, wherever that lives.
func (l *agentLink) attach(ctx actor.Context, hello *messages.HelloRequest) {
	l.deps.Peers.Tell(messages.KindServer, l.serverID, &messages.AgentAttached{ServerId: l.serverID,
		Hello: hello, Link: ctx.Self(), AgentClientId: l.clientID}, ctx.Self())
}

func (l *agentLink) reject(code, text string) {
	l.send(l.helloResponse(&messages.Result{Code: code, Error: text}))
	l.socket.Close(closePolicy, code)
}

// rejectVersion says in the log and to the agent who of them is to be upgraded (F46).
func (l *agentLink) rejectVersion(hello *messages.HelloRequest) {
	ours, theirs := messages.AgentProtocol(), hello.GetProtocolVersion()
	upgrade := "upgrade the broker"
	if theirs.OlderThan(ours) {
		upgrade = "upgrade the agent"
	}
	text := fmt.Sprintf("this broker speaks agent protocol %s and works with agents of %s; this agent speaks %s: %s",
		ours.Text(), ours.Range(), theirs.Text(), upgrade)
	l.deps.Logger.Warn("agent turned away: its version does not fit", "remote", l.socket.RemoteAddr(),
		"hostname", clipped(hello.GetFacts().GetHostname()), "reason", text)
	l.reject(messages.AgentVersion, text)
}

// clipped bounds an agent's text for the log.
func clipped(s string) string { return s[:min(len(s), 100)] }

func (l *agentLink) helloResponse(result *messages.Result) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_HelloResponse{HelloResponse: &messages.HelloResponse{
		RequestId: l.hello.GetRequestId(), Result: result,
		ProtocolVersion: messages.AgentProtocol(),
		BrokerVersion:   l.deps.Config.BrokerVersion, PingIntervalSeconds: int32(l.deps.Config.PingInterval / time.Second),
	}}}
}

// onCommand takes a request of another actor for the agent and remembers who waits.
func (l *agentLink) onCommand(ctx actor.Context, frame *messages.AgentFrame) {
	id, limit := l.requestOf(frame)
	if id == "" {
		unhandled(l.deps, "agent link", frame)
		return
	}
	if known := l.pending[id]; known != nil { // a copy: the agent does it once
		known.asker = ctx.Sender()
		return
	}
	l.pending[id] = &pendingCommand{asker: ctx.Sender(), frame: frame}
	if len(l.pending) > maxPending || l.over {
		l.fail(ctx, id, codeLinkLost, "too many commands wait for the agent")
		return
	}
	system, self := ctx.ActorSystem(), ctx.Self()
	l.deps.Clock.At(l.deps.Clock.Now().Add(limit), func() { system.Root.Send(self, &commandOverdue{id}) })
	if frame.GetDescribeRequest() != nil { // a sign of life does not stand in line
		l.transmit(ctx, id)
		return
	}
	l.outbox = append(l.outbox, id)
	l.sendNext(ctx)
}

// sendNext sends what waits while the agent has places free.
func (l *agentLink) sendNext(ctx actor.Context) {
	for len(l.outbox) > 0 && l.underway < maxUnderway {
		id := l.outbox[0]
		l.outbox = l.outbox[1:]
		if command := l.pending[id]; command != nil { // else its time was over
			command.sent = true
			l.underway++
			l.transmit(ctx, id)
		}
	}
}

func (l *agentLink) transmit(ctx actor.Context, id string) {
	if err := l.socket.Send(l.pending[id].frame); err != nil {
		l.fail(ctx, id, codeLinkLost, "the agent's socket is closed")
	}
}

// take removes a command that is answered, nil if it was before.
func (l *agentLink) take(id string) *pendingCommand {
	command := l.pending[id]
	delete(l.pending, id)
	if command != nil && command.sent {
		l.underway--
	}
	return command
}

func (l *agentLink) onOverdue(ctx actor.Context, m *commandOverdue) {
	if l.pending[m.requestID] != nil {
		l.fail(ctx, m.requestID, messages.AgentTimeout, "the agent did not answer in time")
		l.sendNext(ctx)
	}
}

// end answers all who wait and tells the server grain, once.
func (l *agentLink) end(ctx actor.Context, reason string) {
	if l.over {
		return
	}
	l.over = true
	for id := range l.pending {
		l.fail(ctx, id, codeLinkLost, "the agent's connection was lost")
	}
	if l.serverID != "" {
		l.deps.Peers.Tell(messages.KindServer, l.serverID, &messages.AgentDetached{ServerId: l.serverID, Link: ctx.Self(), Reason: reason}, nil)
	}
}

// giveUp implements mortal: the agent connects again.
func (l *agentLink) giveUp(self *actor.PID, _ *messages.Refusal) { l.deps.System.Root.Stop(self) }

// fail answers in the agent's place.
func (l *agentLink) fail(ctx actor.Context, id, code, text string) {
	command := l.take(id)
	result := &messages.Result{Code: code, Error: text}
	switch command.frame.GetBody().(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		respond(ctx, command.asker, &messages.CreateSessionResponse{RequestId: id, Result: result})
	case *messages.AgentFrame_DeleteSessionRequest:
		respond(ctx, command.asker, &messages.DeleteSessionResponse{RequestId: id, Result: result})
	case *messages.AgentFrame_SetPermissionsRequest, *messages.AgentFrame_ScreenshotRequest: // a client waits
		respond(ctx, command.asker, relayRefusal(code, text))
	case *messages.AgentFrame_DescribeRequest:
		respond(ctx, command.asker, &messages.DescribeResponse{RequestId: id, Result: result})
	}
}

func relayRefusal(code, text string) *messages.Refusal {
	if code == codeLinkLost {
		return &messages.Refusal{Code: messages.CodeUnreachable, Detail: text, RetryAfterMs: 1000}
	}
	return &messages.Refusal{Code: messages.CodeAgentTimeout, Detail: text}
}

// requestOf is the id of a command and how long the agent has for it.
func (l *agentLink) requestOf(frame *messages.AgentFrame) (id string, limit time.Duration) {
	limit = l.deps.Config.Command
	switch b := frame.GetBody().(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		return b.CreateSessionRequest.GetRequestId(), l.deps.Config.Session.Launch
	case *messages.AgentFrame_DeleteSessionRequest:
		return b.DeleteSessionRequest.GetRequestId(), l.deps.Config.Session.Delete
	case *messages.AgentFrame_SetPermissionsRequest:
		return b.SetPermissionsRequest.GetRequestId(), limit
	case *messages.AgentFrame_ScreenshotRequest:
		return b.ScreenshotRequest.GetRequestId(), limit
	case *messages.AgentFrame_DescribeRequest:
		return b.DescribeRequest.GetRequestId(), l.deps.Config.Probe
	default:
		return "", 0
	}
}

// responseOf is the answer in a frame of the agent.
func responseOf(frame *messages.AgentFrame) (id string, answer any) {
	switch b := frame.GetBody().(type) {
	case *messages.AgentFrame_CreateSessionResponse:
		return b.CreateSessionResponse.GetRequestId(), b.CreateSessionResponse
	case *messages.AgentFrame_DeleteSessionResponse:
		return b.DeleteSessionResponse.GetRequestId(), b.DeleteSessionResponse
	case *messages.AgentFrame_SetPermissionsResponse:
		return b.SetPermissionsResponse.GetRequestId(), b.SetPermissionsResponse
	case *messages.AgentFrame_ScreenshotResponse:
		return b.ScreenshotResponse.GetRequestId(), b.ScreenshotResponse
	case *messages.AgentFrame_DescribeResponse:
		return b.DescribeResponse.GetRequestId(), b.DescribeResponse
	default:
		return "", nil
	}
}

// send ignores a socket that is closed already: its pump reports the end.
func (l *agentLink) send(frame *messages.AgentFrame) { _ = l.socket.Send(frame) }
