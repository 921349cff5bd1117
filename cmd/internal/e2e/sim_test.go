package e2e

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/identity"
	"opensessionmanager/messages"
)

// simulated is an agent in the test's process, with a DCV server in memory.
type simulated struct {
	t      *testing.T
	name   string
	dcv    *fake.Driver
	agent  *agent.Agent
	limits agent.Limits
}

// simulate runs an agent whose server is tagged host=name until the test ends. It knows
// the alternative brokers as well.
func (b *broker) simulate(name string, limits agent.Limits, alternatives ...*broker) *simulated {
	b.t.Helper()
	return b.simulateWith(name, limits, simulation{timing: quick}, alternatives...)
}

// quick agents make stories short.
var quick = agent.Timing{Report: time.Second, Debounce: 20 * time.Millisecond, RetryBase: 50 * time.Millisecond, RetryLimit: 200 * time.Millisecond, RefusedLimit: time.Second}

// simulation is how an agent differs from the usual one.
type simulation struct {
	timing agent.Timing // zero is as in the field
	// fronts are addresses of load balancers, which the agent knows instead of the brokers.
	fronts []string
	dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil is the ordinary way
}

func (b *broker) simulateWith(name string, limits agent.Limits, how simulation, alternatives ...*broker) *simulated {
	b.t.Helper()
	brokers := how.fronts
	if brokers == nil {
		brokers = []string{b.agentAddress()}
		for _, other := range alternatives {
			brokers = append(brokers, other.agentAddress())
		}
	}
	s := &simulated{t: b.t, name: name, dcv: fake.New(nil), limits: limits}
	log := newLogbook(b.t, "the agent of "+name)
	logger := slog.New(slog.NewTextHandler(log, nil))
	transport := &http.Transport{TLSClientConfig: b.trust(), DisableKeepAlives: true, DialContext: how.dial}
	var err error
	s.agent, err = agent.New(agent.Config{
		Brokers:   brokers,
		Transport: agent.NewTransport(b.trust(), how.dial),
		Tokens: enroll.New(enroll.Config{Brokers: brokers, StatementPath: b.statementFile, ClientName: name,
			Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, Logger: logger}),
		Driver: s.dcv,
		Host: agent.StaticHost{Known: &messages.ServerFacts{Hostname: name, Ip: "127.0.0.1", DefaultDnsName: name,
			Os: &messages.Os{Family: "linux"}, Tags: map[string]string{"host": name}}},
		Identity: identity.InMemory("", "boot-1"),
		Limits:   limits,
		Timing:   how.timing,
		Version:  "simulated",
		Logger:   logger,
	})
	require.NoError(b.t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.agent.Run(ctx) }()
	b.t.Cleanup(func() { stop(); <-done })
	return s
}

// present is what the host really has: owners by session id.
func (s *simulated) present() (map[string]string, error) {
	all, err := s.dcv.List(s.t.Context())
	owners := map[string]string{}
	for _, one := range all {
		owners[one.GetId()] = one.GetOwner()
	}
	return owners, err
}

func (s *simulated) allowed() agent.Limits { return s.limits }
