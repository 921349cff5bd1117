package fleet

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// lookup is our cluster.IdentityLookup: it knows which grains live here, and its
// activator is the only one who makes them.
type lookup struct {
	f         *Fleet
	system    *actor.ActorSystem
	cluster   *cluster.Cluster
	activator *actor.PID
	// grains maps a key to its *activation. Written by the activator, read by all.
	grains sync.Map
	// queued counts the messages that are on their way through the activator, by their
	// keys' hash: while there is one, those that come later go the same way, behind it.
	queued [256]atomic.Int64
	seed   maphash.Seed
}

type key struct{ kind, id string }

type activation struct {
	pid  *actor.PID
	used atomic.Int64 // unix seconds of the latest message
	// senders are those between their look and their message: while there is one, the
	// grain may not end, or the message would be dropped without a word.
	senders atomic.Int64
}

func newLookup(f *Fleet) *lookup { return &lookup{f: f, seed: maphash.MakeSeed()} }

// Setup implements cluster.IdentityLookup.
func (l *lookup) Setup(c *cluster.Cluster, _ []string, _ bool) {
	l.cluster, l.system = c, c.ActorSystem
	// A grain that ended by itself, after a panic for instance, is forgotten in O(1).
	l.system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*cluster.ActivationTerminating); ok {
			k := key{e.ClusterIdentity.GetKind(), e.ClusterIdentity.GetIdentity()}
			if a, ok := l.grains.Load(k); ok && a.(*activation).pid.Equal(e.Pid) {
				l.grains.CompareAndDelete(k, a)
			}
		}
	})
	l.activator = l.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &activator{lookup: l} }))
}

// Get implements cluster.IdentityLookup.
func (l *lookup) Get(ci *cluster.ClusterIdentity) *actor.PID {
	if a, ok := l.enter(ci.GetKind(), ci.GetIdentity()); ok {
		a.senders.Add(-1)
		return a.pid
	}
	answer, err := l.system.Root.RequestFuture(l.activator, &activate{ci.GetKind(), ci.GetIdentity()}, time.Second).Result()
	if err != nil {
		return nil
	}
	pid, _ := answer.(*actor.PID)
	return pid
}

// RemovePid implements cluster.IdentityLookup.
func (l *lookup) RemovePid(ci *cluster.ClusterIdentity, pid *actor.PID) {
	l.system.Root.Send(l.activator, &retire{ci.GetKind(), ci.GetIdentity(), pid})
}

// Shutdown implements cluster.IdentityLookup: every grain handles what it has and ends.
func (l *lookup) Shutdown() {
	var ending []*actor.Future
	l.grains.Range(func(k, a any) bool {
		ending = append(ending, l.system.Root.PoisonFuture(a.(*activation).pid))
		return true
	})
	for _, f := range ending {
		_ = f.Wait() // a grain that does not end in time ends with the process
	}
}

// tell reaches a grain of this broker, making it if need be. What one sender tells it
// arrives in order.
func (l *lookup) tell(ctx actor.SenderContext, kind, id string, msg proto.Message, sender *actor.PID) {
	queued := l.queuedFor(kind, id)
	if queued.Load() == 0 {
		if a, ok := l.enter(kind, id); ok {
			ctx.RequestWithCustomSender(a.pid, msg, sender)
			a.senders.Add(-1)
			return
		}
	}
	queued.Add(1)
	ctx.Send(l.activator, &deliver{kind: kind, id: id, msg: msg, sender: sender})
}

func (l *lookup) queuedFor(kind, id string) *atomic.Int64 {
	return &l.queued[maphash.Comparable(l.seed, key{kind, id})%uint64(len(l.queued))]
}

// endForeign ends the grains that a view gives to other brokers. What they were about
// to write is fenced by its version; what they owed the next activation takes up.
func (l *lookup) endForeign(v *membership.View) {
	l.grains.Range(func(k, a any) bool {
		name := k.(key)
		if owner, ok := v.Owner(name.kind, name.id); ok && owner.ID != l.f.self.ID {
			l.forget(name, a.(*activation))
		}
		return true
	})
}

// forget makes a grain unreachable and ends it behind all that is sent to it.
func (l *lookup) forget(k key, a *activation) {
	if l.grains.CompareAndDelete(k, a) {
		l.endWhenUnseen(a)
	}
}

// enter finds a grain for one message; the caller takes itself off senders when it is
// sent. A grain that is being retired is not found, or waits for the caller.
func (l *lookup) enter(kind, id string) (*activation, bool) {
	k := key{kind, id}
	found, ok := l.grains.Load(k)
	if !ok {
		return nil, false
	}
	a := found.(*activation)
	a.senders.Add(1)
	if again, ok := l.grains.Load(k); !ok || again != found {
		a.senders.Add(-1)
		return nil, false
	}
	if now := time.Now().Unix(); a.used.Load() != now {
		a.used.Store(now)
	}
	return a, true
}

// passivateIdle asks each session grain without a message since t to retire. Servers
// and the queue hold what only they know and stay.
func (l *lookup) passivateIdle(t time.Time) {
	l.grains.Range(func(k, a any) bool {
		if found := a.(*activation); k.(key).kind == messages.KindSession && found.used.Load() < t.Unix() {
			l.system.Root.Send(found.pid, &messages.Passivate{})
		}
		return true
	})
}

// Messages of the activator.
type (
	activate struct{ kind, id string }
	deliver  struct {
		kind, id string
		msg      proto.Message
		sender   *actor.PID
	}
	retire struct {
		kind, id string
		pid      *actor.PID
	}
)

// notOwner is the activator's "ask somebody else": the view places the grain on
// another broker, or this one has left.
type notOwner struct{}

// activator makes grains, one at a time, so that there is never a second one here.
type activator struct{ lookup *lookup }

func (a *activator) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *activate:
		if made := a.ensure(m.kind, m.id); made != nil {
			ctx.Respond(made.pid)
			made.senders.Add(-1)
			return
		}
		ctx.Respond(&notOwner{})
	case *deliver:
		defer a.lookup.queuedFor(m.kind, m.id).Add(-1)
		if made := a.ensure(m.kind, m.id); made != nil {
			ctx.RequestWithCustomSender(made.pid, m.msg, m.sender)
			made.senders.Add(-1)
		} else {
			a.passOn(m)
		}
	case *retire:
		a.onRetire(m)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	}
}

// passOn: the view changed while the message was on its way to us.
func (a *activator) passOn(m *deliver) {
	if owner, ok := a.lookup.f.source.Current().Owner(m.kind, m.id); ok && owner.ID != a.lookup.f.self.ID {
		a.lookup.f.Tell(m.kind, m.id, m.msg, m.sender)
	} else if m.sender != nil {
		a.lookup.system.Root.Send(m.sender, &messages.Refusal{Code: messages.CodeNotReady, Detail: "this broker is in no fleet", RetryAfterMs: 200})
	}
}

// ensure finds or makes a grain for one message, as enter does. nil: it is not ours.
func (a *activator) ensure(kind, id string) *activation {
	l := a.lookup
	if found, ok := l.enter(kind, id); ok {
		return found
	}
	if !l.ours(kind, id) {
		return nil
	}
	k, ok := l.cluster.TryGetClusterKind(kind)
	if !ok {
		l.system.Logger().Error("no such kind of grain", slog.String("kind", kind))
		return nil
	}
	made := &activation{pid: l.system.Root.Spawn(cluster.WithClusterIdentity(k.Props, cluster.NewClusterIdentity(id, kind)))}
	made.used.Store(time.Now().Unix())
	made.senders.Add(1)
	l.grains.Store(key{kind, id}, made)
	if !l.ours(kind, id) { // by a view whose look for what is foreign may not have seen it
		made.senders.Add(-1)
		l.forget(key{kind, id}, made)
		return nil
	}
	return made
}

// ours says whether the view places a grain here.
func (l *lookup) ours(kind, id string) bool {
	owner, ok := l.f.source.Current().Owner(kind, id)
	return ok && owner.ID == l.f.self.ID
}

// lastWords is how long a retired grain waits for those who looked it up just before.
const lastWords = 10 * time.Millisecond

// onRetire makes the grain unreachable; a later message makes a new one. The old one
// hands on what still reaches it and ends when nobody can send to it any more.
func (a *activator) onRetire(m *retire) {
	k := key{m.kind, m.id}
	found, ok := a.lookup.grains.Load(k)
	if ok && found.(*activation).pid.Equal(m.pid) {
		a.lookup.forget(k, found.(*activation))
	}
}

func (l *lookup) endWhenUnseen(a *activation) {
	if a.senders.Load() == 0 {
		l.system.Root.Poison(a.pid) // behind every message that was sent to it
		return
	}
	time.AfterFunc(lastWords, func() { l.endWhenUnseen(a) })
}
