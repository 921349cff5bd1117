package roles

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"opensessionmanager/actors"
	"opensessionmanager/actors/roster"
	"opensessionmanager/bench/child"
	"opensessionmanager/bench/fixture"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/cluster/gateway"
	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/logging"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/memory"
)

// EngineConfig is a broker's inside without ports.
type EngineConfig struct {
	Folder  string
	Store   string
	Servers int
	Consul  string // where the store "consul" is
}

// Create asks the engine for sessions: Callers at once, Batch in each request.
type Create struct {
	Callers, Batch int
	Duration       time.Duration
}

// Created is what came of it. Settled is when the last one was READY.
type Created struct {
	Accepted, Refused int
	Elapsed, Settled  time.Duration
}

// engine is actors, gateway and store as cluster/node puts them together, with hosts
// that answer on the spot instead of over sockets.
type engine struct {
	log     io.Writer
	stops   []func()
	deps    *actors.Deps
	fleet   *fleet.Fleet
	gateway *gateway.Gateway
	serial  atomic.Int64
}

func (e *engine) commands() child.Commands {
	return child.Commands{cmdStart: child.Command(e.start), "create": child.Command(e.create)}
}

func (e *engine) start(c EngineConfig) (any, error) {
	logs, err := logging.Open(logging.Options{Output: e.log})
	if err != nil {
		return nil, err
	}
	logger := logs.Logger()
	e.onStop(func() { _ = logs.Close(context.Background()) })
	store, err := openStore(c)
	if err != nil {
		return nil, err
	}
	e.onStop(func() { _ = store.Close() })
	committer := persistence.NewCommitter(store, persistence.CommitterConfig{Logger: logger})
	e.onStop(func() { committer.Close(context.Background()) })
	clock := actors.NewSystemClock()
	e.onStop(clock.Close)
	e.deps = &actors.Deps{System: fleet.NewSystem(logger), Store: committer, Clock: clock, Logger: logger, Config: actors.DefaultConfig()}
	if err := e.join(c.Folder, logger); err != nil {
		return nil, err
	}
	actors.Start(e.deps, roster.NewBuilder())
	if err := e.fleet.Join(context.Background()); err != nil {
		return nil, err
	}
	e.gateway = gateway.New(e.deps.Peers.(*fleet.Fleet), calm{e.deps.Roster}, gateway.DefaultConfig())
	return nil, e.attach(c.Servers)
}

// calm is the picture of a broker alone with a store that works.
type calm struct{ *actors.Roster }

// Contact implements gateway.Reader.
func (calm) Contact() error { return nil }

// StoreFails implements gateway.Reader.
func (calm) StoreFails() bool { return false }

func (e *engine) onStop(f func()) { e.stops = append(e.stops, f) }

func openStore(c EngineConfig) (persistence.Store, error) {
	switch c.Store {
	case "memory":
		return memory.New(), nil
	case "consul":
		return consul.Open(consul.Config{Addresses: []string{c.Consul}, Prefix: "engine/"})
	default:
		return embedded.Open(c.Folder)
	}
}

func (e *engine) join(folder string, logger *slog.Logger) error {
	ca, err := certs.Ensure(certs.Config{Dir: filepath.Join(folder, "security")})
	if err != nil {
		return err
	}
	peer, err := certs.Follow(ca.PeerCertificate, logger)
	if err != nil {
		return err
	}
	f, err := fleet.Start(e.deps.System, actors.Kinds(e.deps), fleet.Config{Name: "bench", Logger: logger,
		ServerTLS: ca.PeerServer(peer), ClientTLS: ca.PeerClient(peer), Host: "127.0.0.1", Idle: 5 * time.Minute})
	if err != nil {
		return err
	}
	e.deps.Peers = f
	e.fleet = f
	e.onStop(func() { f.Stop(context.Background()) })
	return nil
}

// attach connects the hosts and waits until each is known.
func (e *engine) attach(servers int) error {
	links := actors.NewLinks(e.deps)
	var greeted sync.WaitGroup
	for i := range servers {
		greeted.Add(1)
		h := &host{greeted: greeted.Done}
		link, err := links.Attach(h, "")
		if err != nil {
			return err
		}
		h.link = link
		link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: &messages.HelloRequest{
			RequestId: "hello", ProtocolVersion: &messages.ProtocolVersion{Major: 1}, ServerId: fixture.ServerID(i),
			MachineId: fixture.MachineID(i), BootId: "boot-1", InstanceId: fmt.Sprint(i),
			Facts: fixture.Facts(i, true), Load: fixture.Load(i)}}})
	}
	greeted.Wait()
	return e.await(func(s *roster.Snapshot) bool { return s.CountServers() == servers })
}

// await polls the roster until it is as wanted.
func (e *engine) await(wanted func(*roster.Snapshot) bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	patience := time.After(time.Minute)
	for !wanted(e.deps.Roster.Snapshot()) {
		select {
		case <-tick.C:
		case <-patience:
			return fmt.Errorf("roles: the roster was not as wanted within a minute")
		}
	}
	return nil
}

func (e *engine) create(c Create) (any, error) {
	var accepted, refused atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range c.Callers {
		all.Go(func() {
			for time.Since(began) < c.Duration {
				for _, result := range e.gateway.CreateSessions(context.Background(), e.batch(c.Batch)) {
					if result.GetRefusal() == nil {
						accepted.Add(1)
					} else {
						refused.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	out := Created{Accepted: int(accepted.Load()), Refused: int(refused.Load()), Elapsed: time.Since(began)}
	err := e.await(func(s *roster.Snapshot) bool {
		creating := 0
		for page := s.Sessions(roster.SessionQuery{Limit: 1000}); ; {
			for _, session := range page.Sessions {
				if session.View.GetState() == messages.SessionState_SESSION_STATE_CREATING {
					creating++
				}
			}
			if !page.More {
				return creating == 0
			}
			page = s.Sessions(roster.SessionQuery{Limit: 1000, After: page.Next})
		}
	})
	out.Settled = time.Since(began)
	return out, err
}

func (e *engine) batch(n int) []*messages.CreateSession {
	batch := make([]*messages.CreateSession, n)
	for i := range batch {
		serial := int(e.serial.Add(1))
		batch[i] = &messages.CreateSession{SessionId: fixture.SessionID(serial), RequestDigest: []byte("bench"), RequestedBy: "bench",
			Spec: &messages.SessionSpec{Name: "bench", Owner: fixture.Owner(serial), Requirements: fixture.Requirement(serial),
				Type: messages.SessionType_SESSION_TYPE_VIRTUAL}}
	}
	return batch
}

func (e *engine) stop() error {
	for i := len(e.stops) - 1; i >= 0; i-- {
		e.stops[i]()
	}
	return nil
}

// host is an agent without a socket: what it is asked it has done at once.
type host struct {
	link     *actors.Link
	greeted  func()
	sequence atomic.Int64
}

// Send implements actors.Socket.
func (h *host) Send(frame *messages.AgentFrame) error {
	if frame.GetHelloResponse() != nil {
		h.greeted()
	}
	if m := frame.GetCreateSessionRequest(); m != nil {
		h.link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_CreateSessionResponse{
			CreateSessionResponse: &messages.CreateSessionResponse{RequestId: m.GetRequestId(), Result: &messages.Result{Success: true},
				Sequence: h.sequence.Add(1), Session: &messages.DcvSession{Id: m.GetSessionId(), Owner: m.GetOwner(), Type: m.GetType()}}}})
	}
	return nil
}

// Close implements actors.Socket.
func (h *host) Close(int, string) {}

// RemoteAddr implements actors.Socket.
func (h *host) RemoteAddr() string { return "127.0.0.1:0" }
