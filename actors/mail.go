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

// keep stores the message, or refuses it when too much waits already.
func (b *backlog) keep(ctx actor.Context) {
	if len(b.kept) >= maxWaiting {
		respond(ctx, ctx.Sender(), &messages.Refusal{Code: messages.CodeBusy,
			Detail: "too many requests wait for the same object", RetryAfterMs: 1000})
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

// forward hands a message that came too late on to the next activation.
func forward(ctx actor.Context, d *Deps, kind, id string) {
	if msg, ok := ctx.Message().(proto.Message); ok {
		d.Peers.Tell(kind, id, msg, ctx.Sender())
	}
}

func respond(ctx actor.SenderContext, to *actor.PID, answer any) {
	if to != nil {
		ctx.Send(to, answer)
	}
}

// guarded keeps a panic in one grain from being more than that: the asker gets an
// answer, the activation is given up, the next message loads it afresh (F25, F26).
func guarded(d *Deps, kind string) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			defer func() {
				if cause := recover(); cause != nil {
					d.Logger.Error("actor panicked; it is given up and will be loaded again", "kind", kind,
						"actor", ctx.Self().GetId(), "message", fmt.Sprintf("%T", envelope.Message),
						"cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
					if envelope.Sender != nil {
						d.System.Root.Send(envelope.Sender, &messages.Refusal{Code: messages.CodeInternal,
							Detail: "the broker failed on this request; its log says more"})
					}
					d.System.Root.Stop(ctx.Self())
				}
			}()
			next(ctx, envelope)
		}
	}
}
