//go:build fleet

package e2e

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/identity"
	"opensessionmanager/cmd/internal/history"
	"opensessionmanager/messages"
)

// witness is a DCV server in memory that keeps a record of who stayed there.
type witness struct {
	*fake.Driver
	host  string
	clock *history.Recorder

	mu    sync.Mutex
	stays []history.Stay
}

// Create implements driver.Driver. A session counts from the moment it is there.
func (w *witness) Create(ctx context.Context, spec *messages.CreateSessionRequest) error {
	called := w.clock.Now()
	err := w.Driver.Create(ctx, spec)
	if errors.Is(err, driver.ErrTimeout) { // it may be there nevertheless
		if _, absent := w.Driver.Describe(context.WithoutCancel(ctx), spec.GetSessionId()); absent != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stays = append(w.stays, history.Stay{Host: w.host, Session: spec.GetSessionId(), Name: spec.GetName(),
		Owner: spec.GetOwner(), Console: spec.GetType() == "console", Called: called, From: w.clock.Now(), To: history.Never})
	return err
}

// Close implements driver.Driver. A session counts until somebody begins to close it.
func (w *witness) Close(ctx context.Context, id string) error {
	called := w.clock.Now()
	err := w.Driver.Close(ctx, id)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, s := range w.stays {
			if s.Session == id && s.To == history.Never {
				w.stays[i].To = called
			}
		}
	}
	return err
}

// peek is the permissions file of a session, if it is there.
func (w *witness) peek(id string) (file string, there bool) {
	before := w.Has(id)
	file = string(w.Permissions(id))
	return file, before && w.Has(id)
}

func (w *witness) all() []history.Stay {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]history.Stay(nil), w.stays...)
}

// cable is the network of a host.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

var errCut = errors.New("the host is cut off")

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_ = conn.Close()
		return nil, errCut
	}
	c.conns[conn] = true
	return conn, nil
}

// set cuts the host off, or ends that.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for conn := range c.conns {
			_ = conn.Close()
		}
		clear(c.conns)
	}
}

// historyHost is a simulated host whose past is recorded.
type historyHost struct {
	plan  hostPlan
	dcv   *witness
	cable *cable
	agent *agent.Agent
}

// startHost runs a host that knows some brokers.
func (r *historyRun) startHost(p hostPlan) *historyHost {
	t, home := r.f.t, r.f.brokers[0]
	t.Helper()
	h := &historyHost{plan: p, cable: &cable{conns: map[net.Conn]bool{}}}
	h.dcv = &witness{Driver: fake.New(nil), host: p.name, clock: r.record}
	var brokers []string
	for _, b := range r.f.brokers {
		brokers = append(brokers, b.agentAddress())
	}
	log := &logbook{}
	r.logs[p.name] = log
	logger := slog.New(slog.NewTextHandler(log, nil))
	transport := &http.Transport{TLSClientConfig: home.trust(), DisableKeepAlives: true, DialContext: h.cable.dial}
	var err error
	h.agent, err = agent.New(agent.Config{
		Brokers:   brokers,
		Transport: agent.NewTransport(home.trust(), h.cable.dial),
		Tokens: enroll.New(enroll.Config{Brokers: brokers, StatementPath: home.statementFile, ClientName: p.name,
			Client: &http.Client{Transport: transport, Timeout: 3 * time.Second}, Logger: logger}),
		Driver: h.dcv,
		Host: agent.StaticHost{Known: &messages.ServerFacts{Hostname: p.name, Ip: "127.0.0.1", DefaultDnsName: p.name,
			Os: &messages.Os{Family: "linux"}, Tags: map[string]string{"host": p.name, "pool": p.pool}}},
		Identity: identity.InMemory("", "boot-1"),
		Limits:   p.limits,
		Timing: agent.Timing{Report: time.Second, Debounce: 20 * time.Millisecond, RetryBase: 50 * time.Millisecond, RetryLimit: 500 * time.Millisecond,
			RefusedLimit: time.Second, Dial: 3 * time.Second, Hello: 3 * time.Second, Ready: 3 * time.Second, Create: 12 * time.Second},
		Version: "simulated",
		Logger:  logger,
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.agent.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return h
}

// present is what the host really has: owners by session id.
func (h *historyHost) present() (map[string]string, error) {
	all, err := h.dcv.List(context.Background())
	owners := map[string]string{}
	for _, one := range all {
		owners[one.GetId()] = one.GetOwner()
	}
	return owners, err
}

func (h *historyHost) allowed() agent.Limits { return h.plan.limits }

// suffer does to a host what a fault says.
func (h *historyHost) suffer(f fault) {
	switch f.what {
	case cutOff:
		h.cable.set(true)
	case failCreates:
		h.dcv.SetFaults(fake.Faults{FailCreates: f.n})
	case slowCreates:
		h.dcv.SetFaults(fake.Faults{StartDelay: time.Duration(f.n) * 400 * time.Millisecond})
	case stallHost:
		h.dcv.SetFaults(fake.Faults{Stall: true})
	case unhealthyHost:
		h.dcv.SetFaults(fake.Faults{Unhealthy: true})
	case lateStarts:
		h.dcv.SetFaults(fake.Faults{LateStart: true})
	case mend:
		h.dcv.SetFaults(fake.Faults{})
		h.cable.set(false)
	}
}
