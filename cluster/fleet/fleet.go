// Package fleet makes grains reachable wherever they live. It wraps protoactor-go's
// cluster with our own provider, identity lookup and request loop: the library's
// frame and remoting stay, its membership, placement and calls do not (see
// cluster/README.md). Here a broker is a fleet of one that needs no other process.
package fleet

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// Errors of Ask.
var (
	// ErrTimeout: nobody answered in time; whether the grain acted is unknown.
	ErrTimeout = errors.New("fleet: no answer in time")
	// ErrStopped: this broker is leaving.
	ErrStopped = errors.New("fleet: stopped")
	// ErrBehind: another broker knows a newer view.
	ErrBehind = errors.New("fleet: another broker has a newer view of the fleet")
)

// Config says how this broker takes part.
type Config struct {
	Name   string
	Logger *slog.Logger
	// ServerTLS and ClientTLS secure the traffic between brokers. Both are required:
	// whoever may speak on that port controls the broker.
	ServerTLS, ClientTLS *tls.Config
	// Host and Port are where other brokers reach this one; port 0 takes a free one.
	Host string
	Port int
	// Advertise is the host other brokers use, if it is not Host; it needs a Port.
	Advertise string
	// Source says who is in the fleet. It is joined by Start and left by Stop.
	Source membership.Source
	// Moved is called after each change of the view, with the grains that are not ours
	// any more already ended: what came to this broker is to be woken.
	Moved func(before, now *membership.View)
	// Lost is called when the connection to another member ended: what was on its way
	// there may be lost. It must not block.
	Lost func()
	// Protocol and Oldest are the versions this broker speaks with others; 0 is what
	// package membership says.
	Protocol, Oldest int
	// Idle is how long a session grain is kept in memory without a message.
	Idle time.Duration
}

// Fleet is this broker's part in the fleet.
type Fleet struct {
	cfg      Config
	source   membership.Source
	self     membership.Member
	system   *actor.ActorSystem
	cluster  *cluster.Cluster
	lookup   *lookup
	provider *provider
	courier  *actor.PID
	refusals *refusals
	links    links
	unwatch  func()

	changes  sync.Mutex    // around changed and last
	changed  chan struct{} // closed at the next change of the view
	last     *membership.View
	newest   atomic.Uint64 // the highest epoch that another broker spoke of
	joined   atomic.Bool   // and everybody here was told who else is in the fleet
	leaving  atomic.Bool
	stopping sync.Once
	started  chan struct{} // closed when StartMember has returned
	life     context.Context
	end      context.CancelFunc
	work     sync.WaitGroup // of what runs until life ends
}

// NewSystem makes the actor system everything of a broker runs in.
func NewSystem(logger *slog.Logger) *actor.ActorSystem {
	system := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(quiet{logger.Handler()}) }),
		actor.WithDeadLetterRequestLogging(false))
	// The library numbers its actors from 1. What is meant for an actor of the process
	// that had this address before must not reach one of this.
	system.ProcessRegistry.SequenceID = rand.Uint64() >> 1
	return system
}

// Start opens the way to other brokers. Nothing may be spawned on the system before,
// for its address is known only now. Join makes the broker a member.
func Start(system *actor.ActorSystem, kinds []*cluster.Kind, cfg Config) (*Fleet, error) {
	if cfg.Source == nil {
		cfg.Source = membership.NewAlone()
	}
	cfg.Protocol = cmp.Or(cfg.Protocol, membership.Protocol)
	cfg.Oldest = cmp.Or(cfg.Oldest, membership.OldestProtocol)
	if cfg.ServerTLS == nil || cfg.ClientTLS == nil {
		return nil, errors.New("fleet: TLS between brokers is not optional")
	}
	f := &Fleet{cfg: cfg, source: cfg.Source, system: system, provider: &provider{ready: make(chan struct{})},
		started: make(chan struct{}), changed: make(chan struct{}), refusals: newRefusals(cfg.Logger, time.Now)}
	f.life, f.end = context.WithCancel(context.Background())
	f.lookup = newLookup(f)
	config := cluster.Configure(cfg.Name, f.provider, f.lookup, f.remoteConfig(),
		cluster.WithKinds(kinds...), cluster.WithRequestTimeout(time.Second))
	config.GossipInterval = 24 * time.Hour // engine.md: lossy, not used
	f.cluster = cluster.New(system, config)
	// Before the library's own: what is sent to other brokers leaves in envelopes.
	system.ProcessRegistry.RegisterAddressResolver(f.resolve)
	if err := f.startMember(); err != nil {
		f.end()
		return nil, err
	}
	f.self = membership.Member{ID: system.ID, Address: system.Address()}
	f.courier, _ = system.Root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor { return courier{f: f, unknown: map[string]bool{}} },
		actor.WithReceiverMiddleware(outlive(cfg.Logger))), courierName)
	f.work.Go(f.sweepLoop)
	return f, nil
}

// startMember runs the library's start, which sleeps a second after everything is up,
// beside us.
func (f *Fleet) startMember() error {
	failed := make(chan error, 1)
	go func() {
		defer close(f.started)
		defer func() {
			if cause := recover(); cause != nil { // the port is taken, for instance
				failed <- fmt.Errorf("fleet: start: %v", cause)
			}
		}()
		f.cluster.StartMember()
	}()
	select {
	case <-f.provider.ready:
		return nil
	case err := <-failed:
		return err
	}
}

// Join makes this broker a member; when it returns, grains can be reached here.
func (f *Fleet) Join(ctx context.Context) error {
	lost := f.system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*remote.EndpointTerminatedEvent); ok {
			for _, m := range f.source.Current().Members {
				if m.Address == e.Address && m.ID != f.self.ID {
					f.source.Suspect(m.ID)
					if f.cfg.Lost != nil {
						f.cfg.Lost()
					}
				}
			}
		}
	})
	if err := f.source.Join(ctx, f.self, f.probe); err != nil {
		f.system.EventStream.Unsubscribe(lost)
		return err
	}
	stop := f.source.Watch(f.onView)
	f.unwatch = func() { stop(); f.system.EventStream.Unsubscribe(lost) }
	f.joined.Store(true)
	return nil
}

// onView ends what is not ours any more and says that the view changed.
func (f *Fleet) onView(now *membership.View) {
	f.changes.Lock()
	before := f.last
	f.last = now
	closing := f.changed
	f.changed = make(chan struct{})
	f.changes.Unlock()
	if before == nil {
		before = &membership.View{}
	}
	if before.Epoch == now.Epoch && len(before.Members) > 0 {
		return
	}
	f.cfg.Logger.Info("the fleet changed", "epoch", now.Epoch, "brokers", len(now.Members), "protocol", now.Protocol)
	f.dismiss(before, now)
	f.greet(before, now)
	f.lookup.endForeign(now)
	close(closing)
	if f.cfg.Moved != nil {
		f.cfg.Moved(before, now)
	}
}

// viewChanged is closed at the next change of the view.
func (f *Fleet) viewChanged() <-chan struct{} {
	f.changes.Lock()
	defer f.changes.Unlock()
	return f.changed
}

// Self is this broker as the others see it.
func (f *Fleet) Self() membership.Member { return f.self }

// Contact is nil while this broker's view can be trusted: nobody spoke of a newer one,
// and the source, or a majority, confirmed it lately.
func (f *Fleet) Contact() error {
	if !f.joined.Load() { // the source may be a member already, and the roster still alone
		return membership.ErrNotMember
	}
	if f.newest.Load() > f.source.Current().Epoch {
		return ErrBehind
	}
	return f.source.Contact()
}

// Removed is closed when the others took this broker for dead and went on without it.
func (f *Fleet) Removed() <-chan struct{} { return f.source.Removed() }

// Suspect has a member probed that was not heard of, and removed if it does not answer.
func (f *Fleet) Suspect(memberID string) { f.source.Suspect(memberID) }

// View is who is in the fleet now.
func (f *Fleet) View() *membership.View { return f.source.Current() }

// Address is where other brokers reach this one.
func (f *Fleet) Address() string { return f.system.Address() }

// Stop ends all grains of this broker, its connections and the system itself.
// Stopping twice does no harm, which the library's own parts panic at.
func (f *Fleet) Stop(ctx context.Context) { f.stopping.Do(func() { f.stop(ctx) }) }

func (f *Fleet) stop(ctx context.Context) {
	if f.unwatch != nil {
		if err := f.source.Leave(ctx); err != nil {
			f.cfg.Logger.Warn("the fleet could not be told that this broker leaves; the others will find out", "error", err)
		}
		f.unwatch()
	}
	f.end()
	f.work.Wait()
	<-f.started
	f.leaving.Store(true)
	f.lookup.Shutdown()
	f.cluster.Gossip.Shutdown()
	f.system.Shutdown()
	f.cluster.Remote.Shutdown(false)
	f.links.closeAll()
}

// Owns says whether the view places a grain on this broker.
func (f *Fleet) Owns(kind, id string) bool { return f.lookup.ours(kind, id) }

// Tell implements actors.Peers.
func (f *Fleet) Tell(kind, id string, msg proto.Message, sender *actor.PID) {
	if owner, ok := f.source.Current().Owner(kind, id); ok && owner.ID != f.self.ID {
		f.post(owner.Address, &messages.Envelope{Kind: kind, Id: id, Sender: sender, Member: owner.ID}, msg, 0)
		return
	}
	if f.leaving.Load() {
		return // grains end, and nothing may make new ones
	}
	f.lookup.tell(f.system.Root, kind, id, msg, sender)
}

// outlive keeps the courier alive whatever it is sent.
func outlive(logger *slog.Logger) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			defer func() {
				if cause := recover(); cause != nil {
					logger.Error("the courier failed on a message", "cause", fmt.Sprint(cause))
				}
			}()
			next(ctx, envelope)
		}
	}
}

// Broadcast sends to every grain of a kind that lives here.
func (f *Fleet) Broadcast(kind string, msg proto.Message) {
	f.lookup.grains.Range(func(k, a any) bool {
		if k.(key).kind == kind {
			f.system.Root.Send(a.(*activation).pid, msg)
		}
		return true
	})
}

// Retire implements actors.Peers.
func (f *Fleet) Retire(kind, id string, self *actor.PID) {
	f.system.Root.Send(f.lookup.activator, &retire{kind: kind, id: id, pid: self})
}

// sweepLoop gives back the memory of sessions that nobody talks about.
func (f *Fleet) sweepLoop() {
	if f.cfg.Idle <= 0 {
		return
	}
	tick := time.NewTicker(max(f.cfg.Idle/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-f.life.Done():
			return
		case now := <-tick.C:
			f.lookup.passivateIdle(now.Add(-f.cfg.Idle))
		}
	}
}
