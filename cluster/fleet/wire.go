package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

const (
	// courierName is the one actor of each broker that envelopes are sent to.
	courierName = "courier"
	// envelopeType is the protobuf name of the only message that comes in.
	envelopeType = packagePrefix + "Envelope"
	// packagePrefix is where the only messages come from that a broker decodes.
	packagePrefix = "opensessionmanager.messages."
	// deadLetter is the library's answer for an actor that ended.
	deadLetter = "actor.DeadLetterResponse"
	// askName begins the names of questions.
	askName = "ask"
	// maxHops bounds how often a message is handed on while views differ.
	maxHops = 60
	// hopPause is how long a message waits for a view that its sender had already.
	hopPause = 20 * time.Millisecond
)

// remoteActor is an actor of another broker, as protoactor sees it here. Whatever is
// sent to it leaves in an envelope.
type remoteActor struct{ f *Fleet }

// resolve gives envelopes to every remote PID but the courier's, which the library
// reaches itself.
func (f *Fleet) resolve(pid *actor.PID) (actor.Process, bool) {
	if pid.GetId() == courierName {
		return nil, false
	}
	return remoteActor{f}, true
}

// SendUserMessage implements actor.Process.
func (r remoteActor) SendUserMessage(pid *actor.PID, message any) {
	_, msg, sender := actor.UnwrapEnvelope(message)
	m, ok := msg.(proto.Message)
	if !ok {
		r.f.cfg.Logger.Error("a message that cannot leave this broker was sent to another", slog.String("message", fmt.Sprintf("%T", msg)))
		return
	}
	r.f.post(pid.GetAddress(), &messages.Envelope{Actor: pid.GetId(), Sender: sender}, m, pid.GetRequestId())
}

// SendSystemMessage implements actor.Process: brokers do not watch or stop each
// other's actors.
func (r remoteActor) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (r remoteActor) Stop(*actor.PID) {}

// post puts a message into an envelope and sends it.
func (f *Fleet) post(address string, env *messages.Envelope, msg proto.Message, request uint32) {
	body, err := proto.Marshal(msg)
	if err != nil {
		f.cfg.Logger.Error("a message could not be encoded", slog.Any("error", err))
		return
	}
	env.Type, env.Body, env.Request = string(msg.ProtoReflect().Descriptor().FullName()), body, request
	env.Epoch = f.source.Current().Epoch
	f.system.Root.Send(actor.NewPID(address, courierName), env)
}

// courier opens what other brokers send. Its mailbox is the way in of a broker.
type courier struct {
	f       *Fleet
	unknown map[string]bool // types of messages, told to the log
}

// redelivery is an envelope that waited for a newer view.
type redelivery struct{ env *messages.Envelope }

func (c courier) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Envelope:
		c.deliver(ctx, m)
	case *redelivery:
		c.deliver(ctx, m.env)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		c.f.cfg.Logger.Error("another broker sent something that is not an envelope", slog.String("message", fmt.Sprintf("%T", m)))
	}
}

func (c courier) deliver(ctx actor.Context, env *messages.Envelope) {
	for known := c.f.newest.Load(); env.GetEpoch() > known && !c.f.newest.CompareAndSwap(known, env.GetEpoch()); {
		known = c.f.newest.Load()
	}
	if c.isLate(env) || env.GetActor() == "" && !c.mine(ctx, env) {
		return
	}
	msg, err := open(env)
	if err != nil {
		c.warnUnknown(env.GetType(), err)
		c.refuse(ctx, env, messages.CodeUnknownMessage, "the broker that owns the object does not know this message; the fleet runs different versions")
		return
	}
	switch {
	case env.GetActor() == "":
		c.f.lookup.tell(ctx, env.GetKind(), env.GetId(), msg, env.GetSender())
	case env.GetType() == deadLetter && !strings.HasPrefix(env.GetActor(), askName):
		// Only questions are asked again; all others have their deadlines.
	case env.GetActor() == courierName:
		c.pong(ctx, env, msg)
	case reserved(env.GetActor()):
		c.refuse(ctx, env, messages.CodeInvalid, "this actor takes no messages from other brokers")
	default:
		target := actor.NewPID(c.f.system.Address(), env.GetActor())
		if _, ok := msg.(*messages.AgentFrame); ok && c.linkEnded(ctx, env, target) {
			return
		}
		target.RequestId = env.GetRequest()
		ctx.RequestWithCustomSender(target, msg, env.GetSender())
	}
}

// isLate says that a question was for the process before this one on its address: it was
// kept for seconds until somebody listened there again. Whoever asked has sent it again
// since, or has given up, and what was changed meanwhile must not be changed back.
func (c courier) isLate(env *messages.Envelope) bool {
	return env.GetMember() != "" && env.GetMember() != c.f.self.ID && strings.HasPrefix(env.GetSender().GetId(), askName)
}

// linkEnded answers a command for an agent whose link is no more: the link told its server
// so, and that was lost between the brokers.
func (c courier) linkEnded(ctx actor.Context, env *messages.Envelope, link *actor.PID) bool {
	if _, lives := c.f.system.ProcessRegistry.GetLocal(link.GetId()); lives {
		return false
	}
	if asker := env.GetSender(); strings.HasPrefix(asker.GetId(), askName) {
		c.refuse(ctx, env, messages.CodeUnreachable, "the agent's connection was lost")
	} else if asker != nil {
		ctx.Send(asker, &messages.AgentDetached{Link: link, Reason: "its link had ended"})
	}
	return true
}

// warnUnknown logs each type that this broker does not know once: a broker of a newer
// version, as there are some during an upgrade, may send many.
func (c courier) warnUnknown(name string, err error) {
	const most = 100
	if seen := c.unknown[name]; seen || len(c.unknown) >= most {
		return
	}
	c.unknown[name] = true
	c.f.cfg.Logger.Warn("another broker sent a message that this one does not know; is it newer? Said once for each type", slog.Any("error", err))
}

// pong answers a probe: this process lives, and which view it has.
func (c courier) pong(ctx actor.Context, env *messages.Envelope, msg proto.Message) {
	if _, ok := msg.(*messages.Ping); ok && env.GetSender() != nil {
		ctx.Send(env.GetSender(), &messages.Pong{MemberId: c.f.self.ID, Epoch: c.f.source.Current().Epoch,
			Confirmed: c.f.confirmed(), OutOfContact: errors.Is(c.f.source.Contact(), membership.ErrNoContact)})
	}
}

// reserved names are the library's own actors, which envelopes must not reach.
func reserved(name string) bool {
	return name == "eventstream" || name == "activator" || strings.HasPrefix(name, "partition-")
}

// mine says whether the grain lives here. If not, the envelope goes on to who owns it,
// or waits a moment when its sender knew a newer view.
func (c courier) mine(ctx actor.Context, env *messages.Envelope) bool {
	view := c.f.source.Current()
	owner, ok := view.Owner(env.GetKind(), env.GetId())
	if ok && owner.ID == c.f.self.ID {
		return true
	}
	if env.Hops++; env.Hops > maxHops {
		c.refuse(ctx, env, messages.CodeBusy, "the object's owner is changing")
		return false
	}
	// The process that had this address before is still in the view: what it owned has no
	// owner until it is removed, and the message must not go round here.
	predecessor := ok && owner.Address == c.f.self.Address
	if predecessor {
		c.f.source.Suspect(owner.ID)
	}
	if env.GetEpoch() > view.Epoch || !ok || predecessor {
		root, self := c.f.system.Root, ctx.Self()
		time.AfterFunc(hopPause, func() { root.Send(self, &redelivery{env}) })
		return false
	}
	env.Epoch, env.Member = view.Epoch, owner.ID
	ctx.Send(actor.NewPID(owner.Address, courierName), env)
	return false
}

func (c courier) refuse(ctx actor.Context, env *messages.Envelope, code, detail string) {
	after := int64(1000)
	if code == messages.CodeBusy {
		after = 200 // see passing
	}
	if env.GetSender() != nil {
		ctx.Send(env.GetSender(), &messages.Refusal{Code: code, Detail: detail, RetryAfterMs: after})
	}
}

// open decodes the message of an envelope; only messages of our own package.
func open(env *messages.Envelope) (proto.Message, error) {
	if env.GetType() != deadLetter && !strings.HasPrefix(env.GetType(), packagePrefix) {
		return nil, fmt.Errorf("fleet: message type %.100q is not ours", env.GetType())
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(env.GetType()))
	if err != nil {
		return nil, fmt.Errorf("fleet: message type %.100q: %w", env.GetType(), err)
	}
	msg := kind.New().Interface()
	if err := proto.Unmarshal(env.GetBody(), msg); err != nil {
		return nil, fmt.Errorf("fleet: message %s: %w", env.GetType(), err)
	}
	return msg, nil
}
