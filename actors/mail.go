package actors

import (
	"fmt"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// maxWaiting bounds what one grain keeps while it loads or saves.
const maxWaiting = 1000

// mail is a message with its sender, kept by a grain that is busy.
type mail struct {
	msg    any
	sender *actor.PID
}

// backlog keeps what arrives while a grain waits for the store.
type backlog struct{ kept []mail }

// keep stores the message, or refuses it when too much waits already. What nobody
// waits for is a fact that is not told twice: it is always kept.
func (b *backlog) keep(ctx actor.Context) {
	if len(b.kept) >= maxWaiting && ctx.Sender() != nil {
		respond(ctx, ctx.Sender(), failed(ctx.Message(), &messages.Refusal{Code: messages.CodeBusy,
			Detail: "too many requests wait for the same object", RetryAfterMs: 1000}))
		return
	}
	b.kept = append(b.kept, mail{ctx.Message(), ctx.Sender()})
}

// drain handles what was kept, in order, until the grain is busy again.
func (b *backlog) drain(busy func() bool, handle func(mail)) {
	for len(b.kept) > 0 && !busy() {
		next := b.kept[0]
		b.kept[0] = mail{}
		b.kept = b.kept[1:]
		handle(next)
	}
	if len(b.kept) == 0 {
		b.kept = nil
	}
}

// forward hands on what was kept by a grain that ends because it lives elsewhere now.
func (b *backlog) forward(d *Deps, kind, id string) {
	for _, m := range b.kept {
		if msg, ok := m.msg.(proto.Message); ok {
			d.Peers.Tell(kind, id, msg, m.sender)
		}
	}
	b.kept = nil
}

// forward hands a message that came too late on to the next activation. What concerns
// only this one ends with it.
func forward(ctx actor.Context, d *Deps, kind, id string) {
	switch msg := ctx.Message().(type) {
	case actor.SystemMessage, actor.AutoReceiveMessage, *messages.Passivate:
	case proto.Message:
		d.Peers.Tell(kind, id, msg, ctx.Sender())
	}
}

func respond(ctx actor.SenderContext, to *actor.PID, answer any) {
	if to != nil {
		ctx.Send(to, answer)
	}
}

// mortal is an actor that can be given up after it panicked.
type mortal interface {
	// giveUp makes the activation hand on what still arrives. Who waits already gets
	// the refusal: handing that on too might make the next activation panic the same way.
	giveUp(self *actor.PID, refusal *messages.Refusal)
}

// guarded keeps a panic in one actor from being more than that: the asker gets an
// answer, a grain is given up and the next message loads it afresh (F25, F26).
// Actors that are not mortal go on with the next message.
func guarded(d *Deps, kind string) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			defer func() {
				cause := recover()
				if cause == nil {
					return
				}
				d.Logger.Error("actor panicked", "kind", kind, "actor", ctx.Self().GetId(), "message", fmt.Sprintf("%T", envelope.Message),
					"cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				refusal := &messages.Refusal{Code: messages.CodeInternal, Detail: "the broker failed on this request; its log says more"}
				if envelope.Sender != nil {
					d.System.Root.Send(envelope.Sender, failed(envelope.Message, refusal))
				}
				if a, ok := ctx.Actor().(mortal); ok {
					a.giveUp(ctx.Self(), refusal)
				}
			}()
			next(ctx, envelope)
		}
	}
}

// failed is the refusal in the form that the asker of msg understands.
func failed(msg any, refusal *messages.Refusal) any {
	switch m := msg.(type) {
	case *messages.PlaceSession:
		return &messages.PlacementRefused{SessionId: m.GetSessionId(), Refusal: refusal}
	case *messages.ReserveSlot:
		return &messages.SlotRefused{SessionId: m.GetSessionId(), ServerId: m.GetServerId(), Refusal: refusal}
	default:
		return refusal
	}
}

// refuse answers all who wait and forgets what was kept.
func (b *backlog) refuse(ctx actor.SenderContext, refusal *messages.Refusal) {
	for _, waiting := range b.kept {
		respond(ctx, waiting.sender, failed(waiting.msg, refusal))
	}
	b.kept = nil
}
