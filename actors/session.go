package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// sessionGrain is the mailbox around one session.Session.
type sessionGrain struct {
	deps *Deps
	id   string
	self *actor.PID

	now     session.Session
	version int64     // of the stored record; 0 = there is none
	shown   int64     // version of the last published view
	armed   time.Time // the deadline that the clock knows

	loaded    bool
	busy      bool // waiting for the store
	retiring  bool // given back; what still arrives is for the next activation
	withdrawn bool // a create was refused that the store may hold nevertheless
	backlog   backlog
	askers    []*actor.PID      // who waits for the outcome of a create
	unread    bool              // for a create the store was not asked
	made      *session.Session  // a create for which the store has to be asked: somebody may have made its record
	refused   *messages.Refusal // the answer to that create if nobody has
	second    string            // the other server that was last seen to have it
	// held is what this activation knew before it began to doubt: should the store turn
	// out to have lost the record, it is written back from here.
	held      session.Session
	rewriting bool // also what is over is written back
	checked   bool // the record was read for what is handled now
}

func newSessionGrain(d *Deps) actor.Actor { return &sessionGrain{deps: d} }

// SessionKind is the grain kind of sessions.
func SessionKind(d *Deps) *cluster.Kind {
	return cluster.NewKind(messages.KindSession, actor.PropsFromProducer(func() actor.Actor {
		return newSessionGrain(d)
	}, actor.WithReceiverMiddleware(guarded(d, messages.KindSession))))
}

// What the store answers, to self.
type (
	sessionLoaded struct {
		record persistence.Record
		err    error
	}
	sessionSaved struct {
		outcome session.Outcome
		version int64
		err     error
		replyTo *actor.PID
	}
	sessionErased struct{ err error }
)

func (g *sessionGrain) Receive(ctx actor.Context) {
	if g.retiring {
		forward(ctx, g.deps, messages.KindSession, g.id)
		return
	}
	switch m := ctx.Message().(type) {
	case *cluster.ClusterInit:
		g.id, g.self = m.Identity.GetIdentity(), ctx.Self()
	case *sessionLoaded:
		g.onLoaded(ctx, m)
	case *sessionSaved:
		g.onSaved(ctx, m)
	case *sessionErased:
		g.onErased(ctx, m)
	case *actor.Stopping:
		g.backlog.forward(g.deps, messages.KindSession, g.id)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		g.receive(ctx)
	}
}

// receive handles one message of the outside now, or keeps it until the store answered.
func (g *sessionGrain) receive(ctx actor.Context) {
	if _, idle := ctx.Message().(*messages.Passivate); idle {
		g.onPassivate()
		return
	}
	if wake, ok := ctx.Message().(*messages.Wake); ok && wake.GetCheck() {
		g.rewriting = true
	}
	if !g.busy && !g.loaded {
		g.load(ctx)
	}
	if g.busy {
		g.backlog.keep(ctx)
		return
	}
	g.handle(ctx, mail{ctx.Message(), ctx.Sender()})
}

func (g *sessionGrain) handle(ctx actor.Context, m mail) {
	switch msg := m.msg.(type) {
	case *messages.Wake:
		g.onWake(ctx, msg)
	case *messages.CreateSession:
		g.onCreate(ctx, msg, m.sender)
	case *messages.DeleteSession:
		g.onDelete(ctx, msg, m.sender)
	case *messages.UpdateSessionPermissions:
		g.onUpdatePermissions(ctx, msg, m.sender)
	case *messages.PlacementGranted:
		g.onGranted(ctx, msg)
	case *messages.PlacementQueued:
		g.onQueued(ctx)
	case *messages.PlacementRefused:
		g.onRefused(ctx, msg)
	case *messages.SessionLaunched:
		g.onSeen(ctx, session.Launched, msg.GetServerId(), "", msg.GetDcvSession())
	case *messages.SessionFound:
		g.onFound(ctx, msg)
	case *messages.SessionLaunchFailed:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.LaunchFailed, Reason: session.Reason{Code: msg.GetCode(), Text: msg.GetMessage()}})
	case *messages.SessionVanished:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.Vanished, Reason: session.Reason{Code: msg.GetCode(), Text: msg.GetReason()}})
	case *messages.SessionClosed:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.Closed})
	case *messages.SessionCloseFailed:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.CloseFailed, Reason: session.Reason{Code: msg.GetCode(), Text: msg.GetMessage()}})
	case *messages.SessionUnreachable:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.AgentLost})
	case *messages.SessionAbandoned:
		g.onServer(ctx, msg.GetServerId(), session.Event{Kind: session.Abandoned, Reason: session.Reason{Code: messages.CodeUnreachable,
			Text: "its server stayed unreachable for longer than the broker is told to wait"}})
	case *messages.DeadlineReached:
		g.onDeadline(ctx, msg)
	default:
		unhandled(g.deps, "session", msg)
	}
}

// onWake: whoever was asked before may be gone, and with it the question.
func (g *sessionGrain) onWake(ctx actor.Context, m *messages.Wake) {
	switch {
	case g.now.State == session.Fresh && len(g.askers) > 0:
		g.place(ctx)
	case m.GetCheck() && g.checked:
		g.rest()
		return
	case m.GetCheck() && g.version != 0:
		g.doubt()
		g.fetch()
		g.backlog.kept = append(g.backlog.kept, mail{m, nil})
		return
	case g.now.State != session.Deleted && g.now.State != session.Buried: // that has asked on its way here, and nothing waits for it
		g.perform(ctx, g.now.Resume())
	}
	g.retireIfEmpty()
}

func (g *sessionGrain) onDelete(ctx actor.Context, m *messages.DeleteSession, sender *actor.PID) {
	switch {
	case g.unread && g.mayCancel(m): // who made it before may have been told so, and it is to be deleted
		g.backlog.kept = append(g.backlog.kept, mail{m, sender})
		g.readFirst(cancelled())
	case g.version == 0 || !g.now.Owns(m.GetOwner()):
		g.cancelCreate(m)
		respond(ctx, sender, notFound(g.id))
		g.retireIfEmpty()
	case g.over() && m.GetRequestId() != "" && m.GetRequestId() == g.now.DeleteRequest:
		g.confirm(sender) // asked again because the answer was lost
	case g.now.State == session.Buried:
		respond(ctx, sender, notFound(g.id))
	case g.over():
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeSessionDeleted, Detail: "the session is deleted already"})
	default:
		event := session.Event{Kind: session.DeleteAsked, Force: m.GetForce(), RequestID: m.GetRequestId()}
		if m.GetForce() && g.now.OnHost() && !g.hostReachable() {
			event.Kind = session.DeleteForced
		}
		g.deps.Logger.Info("session delete asked", "session", g.id, "owner", m.GetOwner(), "force", m.GetForce(), "by", m.GetRequestedBy())
		g.apply(ctx, event, sender)
	}
}

// cancelCreate gives up a create that was not accepted yet; a slot or a place in the
// queue that comes later is given back (F41).
func (g *sessionGrain) cancelCreate(m *messages.DeleteSession) {
	if !g.mayCancel(m) {
		return
	}
	g.answer(cancelled())
	g.now = session.Session{}
}

func (g *sessionGrain) mayCancel(m *messages.DeleteSession) bool {
	return g.version == 0 && len(g.askers) > 0 && g.now.Owns(m.GetOwner())
}

func cancelled() *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeSessionDeleted, Detail: "the session was deleted before it was placed"}
}

func (g *sessionGrain) onQueued(ctx actor.Context) {
	if g.now.State == session.Queued {
		return // known already
	}
	if g.unwanted() || !g.apply(ctx, session.Event{Kind: session.Held}, nil) {
		g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.LeaveQueue{SessionId: g.id}, nil)
		g.retireIfEmpty()
	}
}

// unwanted: no create is under way and none was accepted.
func (g *sessionGrain) unwanted() bool { return g.now.State == session.Fresh && len(g.askers) == 0 }

func (g *sessionGrain) hostReachable() bool {
	host, ok := g.deps.views().Server(g.now.ServerID)
	return ok && host.View.GetReachable()
}

func (g *sessionGrain) onUpdatePermissions(ctx actor.Context, m *messages.UpdateSessionPermissions, sender *actor.PID) {
	switch {
	case g.version == 0 || !g.now.Owns(m.GetOwner()) || g.over():
		respond(ctx, sender, notFound(g.id))
		g.retireIfEmpty()
	case g.now.State != session.Ready:
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeSessionNotReady,
			Detail: "permissions can be changed while the session is READY; it is " + string(g.now.State)})
	default:
		g.deps.Peers.Tell(messages.KindServer, g.now.ServerID, &messages.ServerCommand{ServerId: g.now.ServerID,
			Command: &messages.ServerCommand_SetPermissions{SetPermissions: &messages.SetPermissionsRequest{
				RequestId: m.GetRequestId(), SessionId: g.now.DCVID, PermissionsFile: m.GetPermissionsFile()}}}, sender)
	}
}

func (g *sessionGrain) onGranted(ctx actor.Context, m *messages.PlacementGranted) {
	if g.now.OnHost() && g.now.ServerID == m.GetServerId() {
		return // said twice: the slot is in use
	}
	event := session.Event{Kind: session.Granted, ServerID: m.GetServerId(), MachineID: m.GetMachineId()}
	if g.unwanted() || !g.apply(ctx, event, nil) {
		g.deps.Peers.Tell(messages.KindServer, m.GetServerId(), &messages.ReleaseSlot{ServerId: m.GetServerId(), SessionId: g.id}, nil)
		g.retireIfEmpty()
	}
}

func (g *sessionGrain) onRefused(ctx actor.Context, m *messages.PlacementRefused) {
	if g.now.State == session.Fresh {
		g.onCreateRefused(g.explained(m.GetRefusal()))
		return
	}
	if g.now.PlaceLost() { // somebody may leave
		g.deps.Clock.At(g.deps.Clock.Now().Add(placePause), func() {
			g.deps.Peers.Tell(messages.KindSession, g.id, &messages.Wake{}, nil)
		})
		return
	}
	reason := g.now.Reason // why the last host failed says more than "no other host"
	if reason.Code == "" {
		reason = session.Reason{Code: m.GetRefusal().GetCode(), Text: m.GetRefusal().GetDetail()}
	}
	g.apply(ctx, session.Event{Kind: session.Refused, Reason: reason}, nil)
}

// placePause is how long a session that lost its place waits until it asks again.
const placePause = 500 * time.Millisecond

// explained says what the request implied beside what it said.
func (g *sessionGrain) explained(refusal *messages.Refusal) *messages.Refusal {
	if g.now.Requirements() == g.now.Spec.GetRequirements() {
		return refusal
	}
	refusal = proto.CloneOf(refusal)
	refusal.Detail += "; an autorun file in a console session needs a Windows server"
	return refusal
}

// onServer takes an event of the session's own server; of another one it is old news.
func (g *sessionGrain) onServer(ctx actor.Context, serverID string, e session.Event) {
	if g.version == 0 || serverID != g.now.ServerID {
		g.retireIfEmpty() // a slot without its session is freed by the server
		return
	}
	e.ServerID = serverID
	g.apply(ctx, e, nil)
}

func (g *sessionGrain) onDeadline(ctx actor.Context, m *messages.DeadlineReached) {
	if g.version != 0 && !g.now.Deadline.IsZero() && m.GetStamp() == g.now.Deadline.UnixMilli() {
		g.armed = time.Time{} // it has rung; if the change cannot be saved it must ring again
		g.apply(ctx, session.Event{Kind: session.Overdue}, nil)
		return
	}
	g.retireIfEmpty()
}

func (g *sessionGrain) place(ctx actor.Context) {
	place := &messages.PlaceSession{SessionId: g.id, Owner: g.now.Spec.GetOwner(), Type: g.now.Spec.GetType(),
		Requirements: g.now.Requirements(), AvoidServers: g.now.Tried}
	if g.now.Spec.GetEnqueueRequest() {
		g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.EnqueueSession{Place: place,
			EnqueuedUnixMs: g.now.Created.UnixMilli(), Resumed: g.now.State == session.Queued}, nil)
		return
	}
	ctx.Request(g.deps.Placer, place)
}

// apply decides and makes it durable; adopting and acting follow when the store has
// answered. It says whether the event made sense.
func (g *sessionGrain) apply(ctx actor.Context, e session.Event, replyTo *actor.PID) bool {
	out, err := g.now.On(g.deps.Clock.Now(), e, g.deps.Config.Session)
	if err != nil {
		g.deps.Logger.Debug("session ignores an event", "session", g.id, "state", g.now.State, "event", e.Kind)
		respond(ctx, replyTo, &messages.Refusal{Code: messages.CodeSessionNotReady, Detail: err.Error()})
		return false
	}
	switch {
	case out.Next.State == session.Gone:
		g.busy = true
		g.deps.Store.Delete(g.key(), g.version, func(err error) { g.deps.System.Root.Send(g.self, &sessionErased{err}) })
	case out.Soft:
		g.adopt(ctx, out, replyTo)
	default:
		g.save(out, replyTo)
	}
	return true
}

// adopt makes the decision the present, acts, and shows it.
func (g *sessionGrain) adopt(ctx actor.Context, out session.Outcome, replyTo *actor.PID) {
	before := g.now
	g.now = out.Next
	g.armDeadline()
	g.perform(ctx, out.Effects)
	g.bindIfMoved(before, out.Effects)
	if out.Soft && !changedForReaders(before, g.now) {
		g.confirm(replyTo)
		return
	}
	if before.State != g.now.State {
		g.deps.Logger.Info("session changed", "session", g.id, "from", before.State, "to", g.now.State,
			"server", g.now.ServerID, "reason", g.now.Reason.Code)
	}
	g.publish(ctx, replyTo)
}

// armDeadline has the grain told when the state is over, unless it will be. What should
// have rung by now may have been dropped with everything else that needed the store.
func (g *sessionGrain) armDeadline() {
	if g.now.Deadline.IsZero() || g.now.Deadline.Equal(g.armed) && g.armed.After(g.deps.Clock.Now()) {
		return
	}
	g.armed = g.now.Deadline
	g.deps.ArmSessionDeadline(g.id, g.now.Deadline)
}

// ArmSessionDeadline has a session's grain told when its state is over.
func (d *Deps) ArmSessionDeadline(id string, deadline time.Time) {
	d.Clock.At(deadline, func() {
		d.Peers.Tell(messages.KindSession, id, &messages.DeadlineReached{Stamp: deadline.UnixMilli()}, nil)
	})
}

func notFound(id string) *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeSessionNotFound, Detail: "no session with this id and owner"}
}

// retireIfEmpty gives back an activation that holds nothing.
func (g *sessionGrain) retireIfEmpty() {
	if g.version == 0 {
		g.onPassivate()
	}
}

// onPassivate keeps what is still on its way to a host: how it is to be made is only
// here and in the store, not in what readers see.
func (g *sessionGrain) onPassivate() {
	if g.now.Coming() || g.held.State != session.Fresh {
		return
	}
	if !g.busy && !g.withdrawn && len(g.askers) == 0 && len(g.backlog.kept) == 0 {
		g.retire()
	}
}

// rest gives back an activation that was made only to look at the store: there may be
// tens of thousands of them.
func (g *sessionGrain) rest() {
	switch g.now.State {
	case session.Fresh, session.Ready, session.Deleted, session.Buried:
		g.onPassivate()
	}
}

func (g *sessionGrain) retire() {
	g.retiring = true
	g.deps.Peers.Retire(messages.KindSession, g.id, g.self)
}

// giveUp implements mortal. What the stored state owes is done by the next activation.
func (g *sessionGrain) giveUp(_ *actor.PID, refusal *messages.Refusal) {
	g.backlog.refuse(g.deps.System.Root, refusal)
	g.answer(refusal)
	if !g.retiring {
		g.retire()
	}
}
