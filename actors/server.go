package actors

import (
	"cmp"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// serverGrain is the mailbox around one server.Server: slots, availability, and the
// way to its agent.
type serverGrain struct {
	deps *Deps
	id   string
	self *actor.PID

	srv     *server.Server
	record  *messages.ServerRecord // as last saved, nil = unknown server
	version int64
	shown   int64

	loaded   bool
	busy     bool // loading
	erasing  bool // its delete is under way, or its outcome unknown
	retiring bool // given back; what still arrives is for the next activation
	backlog  backlog

	failed   bool     // the latest save
	switches []string // the latest requests to open or close it

	saving  bool
	unsaved bool // changed again while saving
	unsure  bool // somebody else may have saved meanwhile
	waiting []waitingForSave

	link     *actor.PID // the agent's socket, nil = none
	client   string     // the agent client that opened it
	instance string     // of the agent process behind it
	boot     string
	heard    time.Time // when the link was last heard of
	asking   time.Time // when a link on another broker was asked whether it lives
	rebooted bool      // the agent's first report after a boot is still to come
	away     time.Time // since when there is no link
	lost     bool      // away for longer than the grace time
	claim    *claim    // somebody else says to be this server
	// successor is the id under which the same machine came back; probe is the
	// request that tells whether the agent here still lives.
	successor, probe string
	askers           []*actor.PID // who wait for what comes of the probe
	// proof is the question that a link has to answer before its reports are believed,
	// proving is when it was put, zero once the link has answered in the agent's place;
	// unproven is the latest report until then.
	proof    string
	proving  time.Time
	unproven *messages.SessionsUpdateRequest

	launches map[string]*messages.LaunchSession // by session id, not yet confirmed
	closes   map[string]*messages.CloseSession  // by DCV id, not yet confirmed
	inflight map[string]inflight                // by request id
	sent     map[string]string                  // session id -> request id of its launch in flight
	closing  map[string]string                  // DCV id -> request id of its close in flight
	ended    map[string]int64                   // DCV id -> reply counter of its close: older reports still show it
	aliases  map[string]string                  // DCV id -> session id, where that is taken elsewhere
	adopting map[string]time.Time               // DCV ids of found sessions that the roster does not show yet
	slotless map[string]time.Time               // sessions bound here according to the roster that have no slot, and since when
	asked    bool                               // the agent was asked for a report that has not come
	crowded  bool                               // it was logged that the host has too many sessions made without us
	alarm    time.Time
}

// waitingForSave is answered when the record is durable.
type waitingForSave struct {
	to     *actor.PID
	answer func() any
}

func newServerGrain(d *Deps) actor.Actor {
	return &serverGrain{deps: d, launches: map[string]*messages.LaunchSession{}, closes: map[string]*messages.CloseSession{},
		inflight: map[string]inflight{}, sent: map[string]string{}, closing: map[string]string{}, ended: map[string]int64{},
		aliases: map[string]string{}, adopting: map[string]time.Time{}}
}

// ServerKind is the grain kind of DCV servers.
func ServerKind(d *Deps) *cluster.Kind {
	return cluster.NewKind(messages.KindServer, actor.PropsFromProducer(func() actor.Actor {
		return newServerGrain(d)
	}, actor.WithReceiverMiddleware(guarded(d, messages.KindServer))))
}

type (
	serverLoaded struct {
		record persistence.Record
		err    error
	}
	serverSaved struct {
		record  *messages.ServerRecord
		version int64
		err     error
	}
	serverErased struct{ err error }
)

func (g *serverGrain) Receive(ctx actor.Context) {
	if g.retiring {
		forward(ctx, g.deps, messages.KindServer, g.id)
		return
	}
	switch m := ctx.Message().(type) {
	case *cluster.ClusterInit:
		g.id, g.self = m.Identity.GetIdentity(), ctx.Self()
		g.srv = server.New(g.id)
		g.load()
	case *serverLoaded:
		g.onLoaded(ctx, m)
	case *serverSaved:
		g.onSaved(ctx, m)
	case *serverErased:
		g.onErased(ctx, m)
	case *actor.Stopping:
		g.backlog.forward(g.deps, messages.KindServer, g.id)
	case *actor.Terminated: // the link ended without a word
		ctx.Send(g.self, &messages.AgentDetached{ServerId: g.id, Link: m.Who, Reason: "its link ended"})
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		if g.busy {
			g.backlog.keep(ctx)
			return
		}
		g.handle(ctx, mail{ctx.Message(), ctx.Sender()})
	}
}

func (g *serverGrain) handle(ctx actor.Context, m mail) {
	switch msg := m.msg.(type) {
	case *messages.Wake:
		g.onWake(ctx, msg)
	case *messages.ReserveSlot:
		g.onReserve(ctx, msg, m.sender)
	case *messages.ReleaseSlot:
		g.onRelease(ctx, msg)
	case *messages.LaunchSession:
		g.onLaunch(ctx, msg)
	case *messages.CloseSession:
		g.onClose(ctx, msg)
	case *messages.SessionBound:
		g.onBound(ctx, msg)
	case *messages.SessionTaken:
		g.onTaken(ctx, msg)
	case *messages.ServerCommand:
		g.onCommand(ctx, msg, m.sender)
	case *messages.CreateSessionResponse:
		g.onCreated(ctx, msg)
	case *messages.DeleteSessionResponse:
		g.onDeleted(ctx, msg)
	case *messages.DescribeResponse:
		g.onProbed(ctx, msg)
	case *messages.AgentAttached:
		g.onAttached(ctx, msg, m.sender)
	case *messages.AgentReported:
		g.onReported(ctx, msg, m.sender)
	case *messages.AgentDetached:
		g.onDetached(ctx, msg)
	case *messages.ServerSuperseded:
		g.onSuperseded(ctx, msg, m.sender)
	case *messages.ServerKept:
		g.onKept(ctx, msg)
	case *messages.BrokerLeft:
		g.onBrokerLeft(ctx, msg)
	case *messages.ServerEnded:
		g.onEnded(ctx, msg)
	case *messages.OpenServer:
		g.onOpen(ctx, msg, m.sender)
	case *messages.CloseServer:
		g.onCloseServer(ctx, msg, m.sender)
	case *messages.DeadlineReached:
		g.onDeadline(ctx, msg)
	default:
		unhandled(g.deps, "server", msg)
	}
}

func (g *serverGrain) onReserve(ctx actor.Context, m *messages.ReserveSlot, sender *actor.PID) {
	var no *messages.Refusal
	if g.record == nil && g.link == nil {
		no = &messages.Refusal{Code: messages.CodeServerNotFound, Detail: "the server is not known any more"}
		defer g.retireIfEmpty()
	} else {
		until := g.deps.Clock.Now().Add(g.deps.Config.Reservation)
		no = g.srv.Reserve(m.GetSessionId(), m.GetOwner(), m.GetType(), until)
		g.arm(until)
	}
	if no != nil {
		respond(ctx, sender, &messages.SlotRefused{SessionId: m.GetSessionId(), ServerId: g.id, Refusal: no, View: g.view()})
		return
	}
	view := g.publish(nil, nil)
	respond(ctx, sender, &messages.SlotReserved{SessionId: m.GetSessionId(), ServerId: g.id, MachineId: g.srv.MachineID, View: view})
}

func (g *serverGrain) onRelease(ctx actor.Context, m *messages.ReleaseSlot) {
	delete(g.launches, m.GetSessionId())
	delete(g.sent, m.GetSessionId())
	if g.srv.Release(m.GetSessionId()) {
		g.publish(nil, nil)
	}
	g.retireIfEmpty()
}

// onBound: a session belongs here that never asked for a slot.
func (g *serverGrain) onBound(ctx actor.Context, m *messages.SessionBound) {
	slot := server.Slot{SessionID: m.GetSessionId(), DCVID: m.GetDcvId(), Owner: m.GetOwner(), Type: m.GetType(),
		External: m.GetExternal(), Phase: server.Live}
	if old := g.srv.Slot(m.GetSessionId()); old != nil {
		slot.LastReply = old.LastReply
	}
	g.srv.Hold(slot)
	g.publish(nil, nil)
}

// view is the present picture under a new version number.
func (g *serverGrain) view() *messages.ServerView {
	g.shown = g.deps.stampAfter(g.shown)
	return g.srv.View(g.shown)
}

func (g *serverGrain) publish(replyTo *actor.PID, answer any) *messages.ServerView {
	view := g.view()
	if g.record == nil && g.link == nil {
		return view // not a server that anybody should see
	}
	if replyTo != nil && answer == nil {
		answer = view
	}
	g.deps.Roster.tell(&publishServer{view: view, replyTo: replyTo, answer: answer})
	return view
}

// saveThen makes the record durable if it differs from the stored one, then shows
// the server and answers.
func (g *serverGrain) saveThen(ctx actor.Context, to *actor.PID, answer func() any) {
	if to != nil {
		g.waiting = append(g.waiting, waitingForSave{to, answer})
	}
	if g.saving {
		g.unsaved = true
		return
	}
	next := g.snapshotRecord()
	if g.version != 0 && proto.Equal(next, g.record) {
		g.settle(nil)
		return
	}
	data, err := proto.Marshal(next)
	if err != nil {
		g.settle(storeRefusal(err))
		return
	}
	g.saving, g.unsaved = true, false
	g.deps.Store.Save(persistence.Record{Key: g.key(), Version: g.version, Data: data}, func(version int64, err error) {
		g.deps.System.Root.Send(g.self, &serverSaved{next, version, err})
	})
}

func (g *serverGrain) onSaved(ctx actor.Context, m *serverSaved) {
	g.saving, g.failed = false, m.err != nil
	if m.err != nil {
		g.deps.Logger.Error("server could not be saved", "server", g.id, "error", m.err)
		if g.record != nil {
			g.srv.Closed, g.switches = g.record.GetClosed(), g.record.GetSwitchRequests()
		}
		g.settle(storeRefusal(m.err))
		// What the store holds is unknown now: read it before the next write.
		g.busy = true
		g.load()
		return
	}
	g.record, g.version = m.record, m.version
	if g.unsaved {
		g.saveThen(ctx, nil, nil)
		return
	}
	g.settle(nil)
	if g.unsure {
		g.unsure = false
		g.load()
	}
}

// settle answers all who waited for the save, through the roster.
func (g *serverGrain) settle(refusal *messages.Refusal) {
	waiting := g.waiting
	g.waiting = nil
	if len(waiting) == 0 {
		g.publish(nil, nil)
		return
	}
	for _, w := range waiting {
		if refusal != nil {
			g.publish(w.to, refusal)
			continue
		}
		g.publish(w.to, w.answer())
	}
}

func (g *serverGrain) snapshotRecord() *messages.ServerRecord {
	next := &messages.ServerRecord{Id: g.id, MachineId: g.srv.MachineID, Closed: g.srv.Closed, Facts: g.srv.Facts}
	if g.record != nil {
		next.CreatedUnixMs = g.record.GetCreatedUnixMs()
		// What a later version wrote and this one does not know stays (F47).
		next.ProtoReflect().SetUnknown(g.record.ProtoReflect().GetUnknown())
	} else {
		next.CreatedUnixMs = g.deps.Clock.Now().UnixMilli()
	}
	next.SwitchRequests = g.switches
	next.Unreachable = g.lost
	next.AgentClientId = cmp.Or(g.client, g.record.GetAgentClientId())
	return next
}

func (g *serverGrain) key() persistence.Key { return persistence.Key{Kind: RecordServer, ID: g.id} }

// retireIfEmpty gives back the activation of a server that does not exist. Closes that are
// owed stand in the sessions' records.
func (g *serverGrain) retireIfEmpty() {
	if g.record == nil && g.link == nil && g.claim == nil && !g.busy && !g.saving && !g.retiring && len(g.backlog.kept) == 0 {
		g.retire()
	}
}

func (g *serverGrain) retire() {
	g.retiring = true
	g.deps.Peers.Retire(messages.KindServer, g.id, g.self)
}

// giveUp implements mortal. The agent's next report is refused by the next
// activation, which knows no link: the agent comes again.
func (g *serverGrain) giveUp(_ *actor.PID, refusal *messages.Refusal) {
	root := g.deps.System.Root
	g.backlog.refuse(root, refusal)
	for _, w := range g.waiting {
		respond(root, w.to, refusal)
	}
	if !g.retiring {
		g.retire()
	}
}
