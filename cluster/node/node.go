// Package node is where the parts meet: a Config becomes one running broker. It is
// the only package that knows them all, and it holds no rule of its own.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/cluster/gateway"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/circle"
	"opensessionmanager/cluster/reconcile"
	"opensessionmanager/http/agentws"
	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/http/rest"
	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/heap"
	"opensessionmanager/internal/logging"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/memory"
	"opensessionmanager/persistence/mirror"
	"opensessionmanager/persistence/replicated"
)

// Options is everything a broker is started with.
type Options struct {
	Config *config.Config
	Logger *slog.Logger
	// Store replaces the one that Config names; the node closes it.
	Store persistence.Store
	// Source says who else is in the fleet; nil is a fleet of one.
	Source membership.Source
	// Audit changes the times at which the store is compared with the roster, for tests.
	Audit func(*reconcile.Config)
	// Tune changes the actors' times, for tests that cannot wait.
	Tune func(*actors.Config)
}

// Node is one running broker.
type Node struct {
	opt        Options
	log        *slog.Logger
	ready      atomic.Bool
	caughtUp   atomic.Bool // the roster has what the others have, and no more
	failed     atomic.Bool // the store took nothing, and no probe since
	asking     atomic.Bool // see onLost
	gone       sync.Map    // see rememberGone
	settling   sync.WaitGroup
	settleLife context.Context
	probed     atomic.Int64 // unix seconds of the last probe of a failing store
	probing    atomic.Bool  // there is one under way

	audit     *audit.Trail
	auditLog  *logging.Log
	throttle  *listen.Throttle[netip.Addr] // by caller
	sockets   *listen.Throttle[netip.Addr] // by caller, of agents that are refused
	store     persistence.Store
	committer *persistence.Committer
	clock     *actors.SystemClock
	ca        *certs.Authority
	identity  *certs.Live
	agentTLS  *tls.Config // of the agent port
	keys      *oauth.Keys
	auth      *oauth.Server
	system    *actor.ActorSystem
	deps      *actors.Deps
	company   membership.Source // nil: nobody
	mirror    *mirror.Store     // nil: this broker keeps its records for itself
	auditor   *reconcile.Auditor
	fleet     *fleet.Fleet
	circle    atomic.Pointer[circle.Circle] // nil unless brokers find each other without Consul
	replica   *replicated.Store             // and nil if they have a database
	gateway   *gateway.Gateway
	links     *actors.Links
	agents    atomic.Pointer[agentws.Server] // also read by what follows administrators
	base      context.Context
	cancel    context.CancelFunc

	client, agent, admin *listen.Server
	scrapes              *listen.Server // nil without metrics-port
	api                  atomic.Pointer[rest.Server]

	stops []func(context.Context) error // in the order of starting
}

// Start brings a broker up; when it returns, it is ready. A broker that cannot start
// says why and leaves nothing running.
func Start(ctx context.Context, opt Options) (*Node, error) {
	n := &Node{opt: opt, log: opt.Logger}
	n.base, n.cancel = context.WithCancel(context.Background())
	began := time.Now()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"check the working path", n.checkWorkingPath},
		{"open the audit trail", n.openAudit},
		{"prepare the certificates", n.openCertificates},
		{"find the other brokers", n.openCircle},
		{"open the store", n.openStore},
		{"look for other brokers", n.meet},
		{"prepare the keys and clients", n.openAuthorization},
		{"join the fleet", n.joinFleet},
		{"listen", n.listen},
		{"show metrics", n.showMetrics},
		{"load the sessions", n.load},
	} {
		if err := step.run(ctx); err != nil {
			n.log.Error("broker could not start", "step", step.name, "error", err)
			_ = n.end(ctx) // whose time may be over: it says farewell all the same, and does not try for ever
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	n.ready.Store(true)
	n.log.Info("broker ready", "client", n.ClientAddr(), "agent", n.AgentAddr(), "admin", n.AdminAddr(),
		"took", time.Since(began).Round(time.Millisecond))
	return n, nil
}

// Stop ends the broker: first nothing new is taken, then what runs ends, then what
// it stood on. Errors of all parts are joined.
func (n *Node) Stop(ctx context.Context) error {
	n.ready.Store(false)
	var errs []error
	for i := len(n.stops) - 1; i >= 0; i-- {
		errs = append(errs, n.stops[i](ctx))
	}
	n.cancel()
	return errors.Join(errs...)
}

func (n *Node) onStop(f func(context.Context) error) { n.stops = append(n.stops, f) }

// background runs f until the broker stops, which waits for it.
func (n *Node) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(n.base)
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	n.onStop(func(context.Context) error { cancel(); <-done; return nil })
}

// Run starts a broker and keeps it up until ctx ends. A broker that the others took
// for dead may not act under its identity any more: it stops and joins under a new one.
// Only the first start may fail: one that was a member tries to be one again for ever,
// since nobody would start it when the network or the store is back.
func Run(ctx context.Context, cfg *config.Config, logger *slog.Logger) error {
	go heap.Bound(ctx)
	for served := false; ; served = true {
		n, err := Start(ctx, Options{Config: cfg, Logger: logger})
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil && !served && !errors.Is(err, errLeftBehind) && !errors.Is(err, membership.ErrRemoved) {
			return err
		}
		if err != nil {
			logger.Error("the broker could not join the fleet again; it tries on", "in", startPause)
			pause(ctx, startPause)
			continue
		}
		select {
		case <-ctx.Done():
			logger.Info("broker stops")
			return n.end(ctx)
		case <-n.fleet.Removed():
			logger.Error("the fleet went on without this broker; it starts anew")
			if err := n.end(ctx); err != nil {
				logger.Warn("not all of the broker ended in time", "error", err)
			}
		}
	}
}

// startPause is the time between attempts to start.
const startPause = 2 * time.Second

// end is Stop with the time it may take.
func (n *Node) end(ctx context.Context) error {
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return n.Stop(stop)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ClientAddr, AgentAddr and AdminAddr are where the broker listens.
func (n *Node) ClientAddr() string { return n.client.Addr().String() }

// AgentAddr is the address of the agent port.
func (n *Node) AgentAddr() string { return n.agent.Addr().String() }

// AdminAddr is the address of the admin port.
func (n *Node) AdminAddr() string { return n.admin.Addr().String() }

// CAFile is the certificate that clients and agents have to trust.
func (n *Node) CAFile() string { return filepath.Join(n.securityDir(), certs.CAFile) }

func (n *Node) workingPath() string { return string(n.opt.Config.Storage.WorkingPath) }
func (n *Node) securityDir() string { return filepath.Join(n.workingPath(), "security") }

// checkWorkingPath makes the folder, and refuses one that others may change: whoever
// can swap the database or the keys is the broker.
func (n *Node) checkWorkingPath(context.Context) error {
	if err := os.MkdirAll(n.workingPath(), 0o700); err != nil {
		return err
	}
	info, err := os.Stat(n.workingPath())
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s has mode %#o, so others may change what is in it; run chmod 700 %s", n.workingPath(), mode, n.workingPath())
	}
	return nil
}

func (n *Node) openStore(ctx context.Context) error {
	switch {
	case n.opt.Store != nil:
		n.store = n.opt.Store
	case n.replica != nil:
		n.store = n.replica
	case n.opt.Config.Storage.StateStore == "consul":
		c := n.opt.Config.Consul
		store, err := consul.Open(consul.Config{Addresses: c.Addresses, Token: c.Token.Reveal(), TLS: consulTLS(c), Prefix: c.Prefix, Logger: n.log})
		if err != nil {
			return err
		}
		n.store = store
	case n.opt.Config.Storage.StateStore == "memory":
		n.log.Warn("sessions, keys and clients are kept in memory only and are lost when the broker stops", "key", "state-store")
		n.store = memory.New()
	default:
		store, err := embedded.Open(n.workingPath())
		if err != nil {
			return err
		}
		n.store = store
	}
	n.onStop(func(context.Context) error { return n.store.Close() })
	n.committer = persistence.NewCommitter(n.store, persistence.CommitterConfig{Logger: n.log})
	n.onStop(func(ctx context.Context) error { n.committer.Close(ctx); return nil })
	n.background(n.probeWhileFailed)
	if n.replica != nil {
		return n.replica.Ready(ctx)
	}
	return nil
}
