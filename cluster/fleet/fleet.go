// Package fleet makes grains reachable wherever they live. It wraps protoactor-go's
// cluster with our own provider, identity lookup and request loop: the library's
// frame and remoting stay, its membership, placement and calls do not (see
// cluster/README.md). Here a broker is a fleet of one that needs no other process.
package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Errors of Ask.
var (
	// ErrTimeout: nobody answered in time; whether the grain acted is unknown.
	ErrTimeout = errors.New("fleet: no answer in time")
	// ErrStopped: this broker is leaving.
	ErrStopped = errors.New("fleet: stopped")
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
	// Idle is how long a session grain is kept in memory without a message.
	Idle time.Duration
}

// Fleet is this broker's part in the fleet.
type Fleet struct {
	cfg       Config
	system    *actor.ActorSystem
	cluster   *cluster.Cluster
	lookup    *lookup
	provider  *provider
	started   chan struct{} // closed when StartMember has returned
	sweepDone chan struct{}
	stopSweep context.CancelFunc
}

// NewSystem makes the actor system everything of a broker runs in.
func NewSystem(logger *slog.Logger) *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(quiet{logger.Handler()}) }),
		actor.WithDeadLetterRequestLogging(false))
}

// Start joins the fleet: when it returns, grains can be reached. Nothing may be
// spawned on the system before, for its address is known only now.
func Start(system *actor.ActorSystem, kinds []*cluster.Kind, cfg Config) (*Fleet, error) {
	if cfg.ServerTLS == nil || cfg.ClientTLS == nil {
		return nil, errors.New("fleet: TLS between brokers is not optional")
	}
	f := &Fleet{cfg: cfg, system: system, provider: newProvider(), started: make(chan struct{}), sweepDone: make(chan struct{})}
	f.lookup = newLookup(f.provider.views)
	config := cluster.Configure(cfg.Name, f.provider, f.lookup, f.remoteConfig(),
		cluster.WithKinds(kinds...), cluster.WithRequestTimeout(time.Second))
	config.GossipInterval = 24 * time.Hour // engine.md: lossy, not used
	f.cluster = cluster.New(system, config)
	failed := make(chan error, 1)
	go func() { // it sleeps a second after everything is up
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
	case err := <-failed:
		return nil, err
	}
	sweep, stop := context.WithCancel(context.Background())
	f.stopSweep = stop
	go f.sweepLoop(sweep)
	return f, nil
}

// remoteConfig sets the limits the library leaves open (engine.md chapter 9).
func (f *Fleet) remoteConfig() *remote.Config {
	const largest = 64 << 20
	return remote.Configure(f.cfg.Host, f.cfg.Port,
		remote.WithEndpointWriterQueueSize(1024), remote.WithEndpointWriterBatchSize(256),
		remote.WithServerOptions(
			grpc.Creds(credentials.NewTLS(f.cfg.ServerTLS)),
			grpc.ChainStreamInterceptor(recovering(f.cfg.Logger)),
			grpc.ChainUnaryInterceptor(closed), // the library's diagnostics
			grpc.MaxRecvMsgSize(largest),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true})),
		remote.WithDialOptions(grpc.WithTransportCredentials(credentials.NewTLS(f.cfg.ClientTLS)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true})),
		remote.WithCallOptions(grpc.MaxCallSendMsgSize(largest)))
}

// recovering keeps a message that the library cannot decode from ending the process:
// only its stream ends (engine.md, pitfall 2).
func recovering(logger *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				logger.Error("stream of another broker ended: its message could not be handled", "cause", fmt.Sprint(cause))
				err = fmt.Errorf("fleet: message not understood: %v", cause)
			}
		}()
		return handler(srv, stream)
	}
}

// closed refuses the calls that brokers do not make.
func closed(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "not offered")
}

// Address is where other brokers reach this one.
func (f *Fleet) Address() string { return f.system.Address() }

// Stop ends all grains of this broker and the system itself.
func (f *Fleet) Stop() {
	f.stopSweep()
	<-f.sweepDone
	<-f.started
	f.lookup.Shutdown()
	f.cluster.Gossip.Shutdown()
	f.system.Shutdown()
	f.cluster.Remote.Shutdown(false)
}

// Tell implements actors.Peers.
func (f *Fleet) Tell(kind, id string, msg proto.Message, sender *actor.PID) {
	if a, ok := f.lookup.enter(kind, id); ok {
		f.system.Root.RequestWithCustomSender(a.pid, msg, sender)
		a.senders.Add(-1)
		return
	}
	f.system.Root.Send(f.lookup.activator, &deliver{kind: kind, id: id, msg: msg, sender: sender})
}

// Retire implements actors.Peers.
func (f *Fleet) Retire(kind, id string, self *actor.PID) {
	f.system.Root.Send(f.lookup.activator, &retire{kind: kind, id: id, pid: self})
}

// sweepLoop gives back the memory of sessions that nobody talks about.
func (f *Fleet) sweepLoop(ctx context.Context) {
	defer close(f.sweepDone)
	if f.cfg.Idle <= 0 {
		return
	}
	tick := time.NewTicker(max(f.cfg.Idle/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.lookup.passivateIdle(now.Add(-f.cfg.Idle))
		}
	}
}
