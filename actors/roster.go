package actors

import (
	"fmt"
	"sync/atomic"

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

// flush publishes what was put since the last one. It is sent once per burst and
// stands behind everything that was queued with it: that is the batching.
type flush struct{}

type rosterActor struct {
	deps     *Deps
	builder  *roster.Builder
	flushing bool
	replies  []reply
}

type reply struct {
	to     *actor.PID
	answer any
}

// StartRoster spawns the roster with what the store holds already in it.
func StartRoster(d *Deps, builder *roster.Builder) *Roster {
	r := &Roster{system: d.System}
	r.current.Store(builder.Snapshot())
	d.Roster = r
	r.pid = d.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &rosterActor{deps: d, builder: builder}
	}, actor.WithReceiverMiddleware(guarded(d, "roster"))))
	return r
}

// Snapshot is the present picture; it never changes.
func (r *Roster) Snapshot() *roster.Snapshot { return r.current.Load() }

func (r *Roster) tell(msg any) { r.system.Root.Send(r.pid, msg) }

func (r *rosterActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *publishSession:
		r.builder.PutSession(m.view)
		r.later(ctx, m.replyTo, m.answer)
	case *publishServer:
		if r.builder.PutServer(m.view) {
			ctx.Send(r.deps.Placer, m.view)
		}
		r.later(ctx, m.replyTo, m.answer)
	case *removeSession:
		r.builder.RemoveSession(m.id)
		r.later(ctx, nil, nil)
	case *removeServer:
		r.builder.RemoveServer(m.id)
		ctx.Send(r.deps.Placer, &serverGone{m.id})
		r.later(ctx, nil, nil)
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
	if !r.flushing {
		r.flushing = true
		ctx.Send(ctx.Self(), &flush{})
	}
}

func (r *rosterActor) publish(ctx actor.Context) {
	r.flushing = false
	r.deps.Roster.current.Store(r.builder.Snapshot())
	for i, waiting := range r.replies {
		ctx.Send(waiting.to, waiting.answer)
		r.replies[i] = reply{}
	}
	r.replies = r.replies[:0]
}

// unhandled: a message nobody expected is a mistake of ours, never silent.
func unhandled(d *Deps, who string, msg any) {
	d.Logger.Error("actor got a message it does not know", "actor", who, "message", fmt.Sprintf("%T", msg))
}
