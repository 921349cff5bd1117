//go:build fleet && !race

package clustertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/node"
	"opensessionmanager/cluster/reconcile"
	"opensessionmanager/internal/config"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// registryTTL is how long the registry lists a broker that is silent.
const registryTTL = 3 * time.Second

// fleet is some brokers with one registry, one store and one CA.
type fleet struct {
	t        *testing.T
	registry *membership.Memory
	store    persistence.Store
	brokers  []*broker
	trust    *tls.Config
}

// broker is one of them.
type broker struct {
	t    *testing.T
	name string
	dir  string
	log  *logbook
	node *node.Node
	once sync.Once
	api  *client
}

// shared is a store that outlives each broker.
type shared struct{ persistence.Store }

func (shared) Close() error { return nil }

// newFleet starts n brokers, one after the other.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, registry: membership.NewMemory(registryTTL), store: shared{memory.New()}}
	for range n {
		f.add()
	}
	return f
}

// add starts one more broker and returns when it is ready.
func (f *fleet) add() *broker {
	f.t.Helper()
	name := string(rune('A' + len(f.brokers)))
	b := &broker{t: f.t, name: name, dir: f.t.TempDir(), log: newLogbook(f.t, "broker "+name)}
	if len(f.brokers) > 0 {
		f.copyAuthority(b.dir)
	}
	cfg := config.Default()
	cfg.Storage.WorkingPath = config.Path(b.dir)
	cfg.Client.Port, cfg.Client.BindHost = 0, "127.0.0.1"
	cfg.Agent.Port, cfg.Agent.BindHost = 0, "127.0.0.1"
	cfg.Agent.PingInterval = time.Second
	cfg.Admin.Port = 0
	cfg.Fleet.Port, cfg.Fleet.BindHost = 0, "127.0.0.1"
	cfg.Authorization.EnableClient, cfg.Authorization.EnableAgent = false, false
	logger := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	source := membership.New(f.registry.Connect(), membership.Options{TTL: registryTTL, Logger: logger})
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	var err error
	b.node, err = node.Start(ctx, node.Options{Config: cfg, Logger: logger, Store: f.store, Source: source,
		Audit: func(c *reconcile.Config) { c.Delay, c.Again = 50*time.Millisecond, 2*time.Second }})
	require.NoError(f.t, err, "broker %s", name)
	f.t.Cleanup(b.stop)
	if f.trust == nil {
		f.trust = readTrust(f.t, b.node.CAFile())
	}
	b.api = newClient(f.t, b.node.ClientAddr(), f.trust)
	f.brokers = append(f.brokers, b)
	return b
}

// stop ends the broker in good order.
func (b *broker) stop() {
	b.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.node.Stop(ctx); err != nil {
			b.t.Logf("broker %s: stop: %v", b.name, err)
		}
	})
}

// copyAuthority gives a broker the CA of the first one, as an operator does.
func (f *fleet) copyAuthority(dir string) {
	f.t.Helper()
	to := filepath.Join(dir, "security")
	require.NoError(f.t, os.MkdirAll(to, 0o700))
	for _, name := range []string{"dcvsmbroker_ca.pem", "dcvsmbroker_ca_key.pem"} {
		data, err := os.ReadFile(filepath.Join(f.brokers[0].dir, "security", name))
		require.NoError(f.t, err)
		require.NoError(f.t, os.WriteFile(filepath.Join(to, name), data, 0o600))
	}
}

func readTrust(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// host is an agent with a DCV server in memory.
type host struct {
	name  string
	dcv   *fake.Driver
	agent *agent.Agent
}

// host runs an agent that knows some brokers until the test ends.
func (f *fleet) host(name string, limits agent.Limits, brokers ...*broker) *host {
	f.t.Helper()
	h := &host{name: name, dcv: fake.New(nil)}
	var addresses []string
	for _, b := range brokers {
		addresses = append(addresses, b.node.AgentAddr())
	}
	log := newLogbook(f.t, "agent "+name)
	var err error
	h.agent, err = agent.New(agent.Config{
		Brokers: addresses, Transport: agent.NewTransport(f.trust, nil), Driver: h.dcv,
		Host: agent.StaticHost{Known: &messages.ServerFacts{Hostname: name, Ip: "127.0.0.1", DefaultDnsName: name,
			Os: &messages.Os{Family: "linux"}, Tags: map[string]string{"host": name}}},
		Identity: identity.InMemory("", "boot-1"), Limits: limits,
		Timing: agent.Timing{Report: time.Second, Debounce: 10 * time.Millisecond, RetryBase: 50 * time.Millisecond,
			RetryLimit: 200 * time.Millisecond, RefusedLimit: time.Second},
		Version: "simulated", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(f.t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.agent.Run(ctx) }()
	f.t.Cleanup(func() { stop(); <-done })
	return h
}

// awaitServers waits until each of some brokers shows n servers that take sessions.
func (f *fleet) awaitServers(n int, brokers ...*broker) {
	f.t.Helper()
	for _, b := range brokers {
		await(f.t, fmt.Sprintf("%d servers at broker %s", n, b.name), func() error {
			all, err := b.api.servers()
			if err != nil {
				return err
			}
			available := 0
			for _, s := range all {
				if s.Availability == "AVAILABLE" {
					available++
				}
			}
			if available != n {
				return fmt.Errorf("%d of %d servers are available", available, len(all))
			}
			return nil
		})
	}
}

// logbook keeps what one part logs; it is shown if the test fails.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func newLogbook(t *testing.T, name string) *logbook {
	l := &logbook{}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		const most = 60
		lines := strings.Split(strings.TrimSpace(l.text.String()), "\n")
		t.Logf("log of %s, last %d of %d lines:\n%s", name, min(most, len(lines)), len(lines), strings.Join(lines[max(0, len(lines)-most):], "\n"))
	})
	return l
}

// newClient speaks to one broker.
func newClient(t *testing.T, address string, trust *tls.Config) *client {
	transport := &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, url: "https://" + address, http: &http.Client{Transport: transport, Timeout: time.Minute}}
}
