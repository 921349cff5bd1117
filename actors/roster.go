package actors

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// Roster is this broker's picture of the fleet. Reads take the latest snapshot and
// wait for nobody; writes go through the roster's mailbox, and who waits for one is
// answered only after the snapshot that shows it is published.
type Roster struct {
	system  *actor.ActorSystem
	pid     *actor.PID
	current atomic.Pointer[roster.Snapshot]
	clock   Clock
	// freshUntil is when this broker counts itself behind, in unix nanoseconds.
	freshUntil atomic.Int64
	// unsettled counts brokers that are gone and whose last answers are not all known.
	unsettled atomic.Int32
}

// publishSession puts a view on the roster and then hands answer to replyTo.
type publishSession struct {
	view    *messages.SessionView
	replyTo *actor.PID
	answer  any
}

type publishServer struct {
	view    *messages.ServerView
	replyTo *actor.PID
	answer  any
}

type removeSession struct{ id string }

type removeServer struct{ id string }

// serverGone tells the placer that a server is no more.
type serverGone struct{ id string }

// dropLoaded forgets sessions that are shown as they were stored when the broker started,
// and are in the store no more.
type dropLoaded struct{ ids []string }

type dropped struct{}

// flush publishes what was put since the last one. It is sent once per burst and
// stands behind everything that was queued with it: that is the batching.
type flush struct{}

type rosterActor struct {
	deps     *Deps
	builder  *roster.Builder
	flushing bool
	replies  []reply

	replication *replication
	acks        []reply     // what other brokers wait for
	checks      []grainName // grains of this broker that are to look at the store
}

type reply struct {
	to     *actor.PID
	answer any
}

// StartRoster spawns the roster with what the store holds already in it.
func StartRoster(d *Deps, builder *roster.Builder) *Roster {
	r := &Roster{system: d.System, clock: d.Clock}
	r.freshUntil.Store(math.MaxInt64)
	r.current.Store(builder.Snapshot())
	d.Roster = r
	r.pid, _ = d.System.Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor {
		return &rosterActor{deps: d, builder: builder, replication: newReplication()}
	}, actor.WithReceiverMiddleware(guarded(d, "roster"))), RosterName)
	return r
}

// Loaded is the highest version of what a roster shows because the store had it when the
// broker started, and nobody has told it more. What grains publish has higher ones.
const Loaded = 1 << 40

// LoadedAs is the version under which a stored record is shown: of two brokers that read
// it at different times, and whose grain died in between, the later one is right.
func LoadedAs(recordVersion int64) int64 { return min(max(recordVersion, 1), Loaded) }

// DropLoaded forgets sessions that were forgotten after this broker had read the store
// and before it could hear so. It tells nobody, and returns when no reader sees them.
func (r *Roster) DropLoaded(ids []string) error {
	return r.system.Root.RequestFuture(r.pid, &dropLoaded{ids}, dropTime).Wait()
}

// dropTime bounds the wait for a roster that has a fleet's pictures to take in.
const dropTime = 10 * time.Second

// Snapshot is the present picture; it never changes.
func (r *Roster) Snapshot() *roster.Snapshot { return r.current.Load() }

// SetOthers tells the roster who else is in the fleet. From now on it counts as behind
// until it has looked at that.
func (r *Roster) SetOthers(m *RostersChanged) {
	if len(m.Others) > 0 {
		r.freshUntil.Store(0)
	}
	r.tell(m)
}

func (r *Roster) tell(msg any) { r.system.Root.Send(r.pid, msg) }

func (r *rosterActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *publishSession:
		if r.builder.PutSession(m.view) {
			r.replication.out.session(m.view)
		}
		r.later(ctx, m.replyTo, m.answer)
	case *publishServer:
		before, known := r.builder.Snapshot().Server(m.view.GetId())
		if r.builder.PutServer(m.view) {
			ctx.Send(r.deps.Placer, m.view)
			r.replication.out.server(m.view)
			if !known || before.View.GetAvailability() != m.view.GetAvailability() { // clients wait for that
				r.replication.out.urgent = true
			}
		}
		r.later(ctx, m.replyTo, m.answer)
	case *removeSession:
		version := r.deps.stampAfter(0) // also where others know what this roster does not
		if known, ok := r.builder.Snapshot().Session(m.id); ok {
			version = known.View.GetVersion()
		}
		r.remove(ctx, &r.replication.out.update.RemovedSessions, "session/", m.id, version)
		r.builder.RemoveSession(m.id)
		r.later(ctx, nil, nil)
	case *dropLoaded:
		for _, id := range m.ids {
			if known, ok := r.builder.Snapshot().Session(id); ok && known.View.GetVersion() <= Loaded {
				r.builder.RemoveSession(id)
			}
		}
		r.later(ctx, ctx.Sender(), &dropped{})
	case *removeServer:
		version := r.deps.stampAfter(0)
		if known, ok := r.builder.Snapshot().Server(m.id); ok {
			version = known.View.GetVersion()
		}
		r.remove(ctx, &r.replication.out.update.RemovedServers, "server/", m.id, version)
		r.builder.RemoveServer(m.id)
		ctx.Send(r.deps.Placer, &serverGone{m.id})
		r.later(ctx, nil, nil)
	case *RostersChanged:
		r.onRostersChanged(ctx, m)
	case *messages.RosterUpdate:
		r.onUpdate(ctx, m)
	case *messages.RosterAck:
		r.onAck(ctx, m)
	case *messages.RosterPull:
		r.onPull(ctx, m)
	case *messages.RosterPage:
		r.onPage(ctx, m)
	case *pullAgain:
		r.onPullAgain(ctx, m)
	case *rosterTick:
		r.onTick(ctx)
	case *holdOver:
		r.onHoldOver(ctx)
	case *purgeTick:
		r.onPurge(ctx)
	case *doubtSettled:
		r.onDoubtSettled()
	case *flush:
		r.publish(ctx)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		unhandled(r.deps, "roster", m)
	}
}

func (r *rosterActor) later(ctx actor.Context, to *actor.PID, answer any) {
	if to != nil {
		r.replies = append(r.replies, reply{to, answer})
	}
	r.flushSoon(ctx)
}

func (r *rosterActor) flushSoon(ctx actor.Context) {
	if !r.flushing {
		r.flushing = true
		ctx.Send(ctx.Self(), &flush{})
	}
}

// publish shows what was put. Who waits for something of this broker's grains is
// answered when the others show it too.
func (r *rosterActor) publish(ctx actor.Context) {
	r.flushing = false
	r.deps.Roster.current.Store(r.builder.Snapshot())
	r.judge()
	r.wakeChecked()
	if r.replication.alone() {
		r.answer(ctx, r.replies)
		r.replication.out.take()
		clear(r.replies)
		r.replies = r.replies[:0]
		return
	}
	r.answer(ctx, r.acks)
	clear(r.acks)
	r.acks = r.acks[:0]
	waiting := r.replies
	r.replies = nil
	r.tellOthers(ctx, waiting)
}

// remove remembers what is gone and tells the others.
func (r *rosterActor) remove(ctx actor.Context, out *[]*messages.Removal, kind, id string, version int64) {
	gone := &messages.Removal{Id: id, Version: version}
	*out = append(*out, gone)
	r.replication.out.urgent = true // who wanted it gone may have been told so already
	r.bury(ctx, kind, gone)
}

// unhandled: a message nobody expected is a mistake of ours, never silent. That an actor of
// this broker had just ended is none, and who depends on it watches it.
func unhandled(d *Deps, who string, msg any) {
	if _, ended := msg.(*actor.DeadLetterResponse); ended {
		return
	}
	d.Logger.Error("actor got a message it does not know", "actor", who, "message", fmt.Sprintf("%T", msg))
}
