//go:build fleet

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/messages"
)

// herd is many agents that can all lose their connections at once.
type herd struct {
	agents []*agent.Agent

	mu    sync.Mutex
	conns map[net.Conn]bool
}

const herdSize = 2000

func (f *fleet) herd(n int) *herd {
	h := &herd{conns: map[net.Conn]bool{}}
	transport := agent.NewTransport(f.brokers[0].trust(), h.dial)
	server := fake.DefaultServer()
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	f.t.Cleanup(func() { stop(); all.Wait() })
	for i := range n {
		name := fmt.Sprintf("herd-%d", i)
		a, err := agent.New(agent.Config{
			Brokers:   addressesForAgents(f.brokers),
			Transport: transport,
			Driver:    fake.New(server),
			Host: agent.StaticHost{Known: &messages.ServerFacts{Hostname: name, Ip: "127.0.0.1", DefaultDnsName: name,
				Os: &messages.Os{Family: "linux"}, Tags: map[string]string{"host": name}}},
			Identity: identity.InMemory("", "boot-1"),
			Limits:   agent.Limits{MaxVirtual: 10, MaxPerUser: -1, MaxConsole: 1},
			Version:  "simulated",
			Logger:   slog.New(slog.DiscardHandler),
		})
		require.NoError(f.t, err)
		h.agents = append(h.agents, a)
		all.Go(func() { _ = a.Run(ctx) })
	}
	return h
}

func addressesForAgents(brokers []*broker) (all []string) {
	for _, b := range brokers {
		all = append(all, b.agentAddress())
	}
	return all
}

// tracked is a connection that its herd knows.
type tracked struct {
	net.Conn
	herd *herd
}

func (c tracked) Close() error {
	c.herd.mu.Lock()
	delete(c.herd.conns, c.Conn)
	c.herd.mu.Unlock()
	return c.Conn.Close()
}

func (h *herd) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[conn] = true
	return tracked{conn, h}, nil
}

// scatter breaks all connections in one moment.
func (h *herd) scatter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		_ = conn.Close()
	}
}

// gathered says which agents have a report confirmed after t.
func (h *herd) gathered(t time.Time) (n int) {
	for _, a := range h.agents {
		if s := a.Status(); s.Connected && s.LastAck.After(t) {
			n++
		}
	}
	return n
}

// F15 at small scale: 2,000 agents lose their connections in one moment. They come back
// spread over some time and within 15 seconds, and the API goes on meanwhile. The agents
// are on the machine of the brokers and take most of it, so the times of the API are
// only told.
func TestFleet_ManyAgentsComeBackAtOnce(t *testing.T) {
	t.Parallel()
	long(t, "it runs 2,000 agents")
	f := startFleetOn(t, terrain{agents: quick, limits: agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		settings: []string{"agent-ping-interval-seconds = 4", "enable-agent-authorization = false"}}, 1, brokerProgram, brokerProgram, brokerProgram)
	began := time.Now()
	h := f.herd(herdSize)
	f.awaitHerd(h, began)
	t.Logf("%d agents came for the first time within %v", herdSize, time.Since(began).Round(time.Millisecond))
	calm := f.ask(5*time.Second, func() bool { return false })
	scattered := time.Now()
	h.scatter()
	var back []time.Duration
	storm := f.ask(rehomeLimit, func() bool {
		n := h.gathered(scattered)
		for len(back) < n {
			back = append(back, time.Since(scattered))
		}
		return n == herdSize
	})
	judge(t, len(back) == herdSize, "only %d agents are back within %v", len(back), rehomeLimit)
	f.awaitHerd(h, scattered)
	require.NotEmpty(t, back)
	t.Logf("agents back after %v to %v, half of them after %v", back[0].Round(time.Millisecond),
		back[len(back)-1].Round(time.Millisecond), back[len(back)/2].Round(time.Millisecond))
	require.Greater(t, back[len(back)-1]-back[0], 100*time.Millisecond, "they are to come one by one")
	t.Logf("p99 of describeSessions: calm %v of %d, meanwhile %v of %d, ratio %.1f", percentile(calm, 99), len(calm),
		percentile(storm, 99), len(storm), float64(percentile(storm, 99))/float64(percentile(calm, 99)))
	require.NotContains(t, f.logs(), "panic")
}

func (f *fleet) awaitHerd(h *herd, since time.Time) {
	f.t.Helper()
	await(f.t, "the herd", func() error {
		if n := h.gathered(since.Add(-time.Millisecond)); n < len(h.agents) {
			return fmt.Errorf("%d of %d", n, len(h.agents))
		}
		return nil
	})
}

// ask reads from the brokers all the time and returns how long each answer took, until
// done or the time is over.
func (f *fleet) ask(d time.Duration, done func() bool) (took []time.Duration) {
	f.t.Helper()
	refused := 0
	for began := time.Now(); time.Since(began) < d && !done(); {
		asked := time.Now()
		_, err := f.at(f.brokers[rand.IntN(len(f.brokers))]).session("00000000-0000-0000-0000-000000000000")
		if err != nil && !errors.Is(err, errAbsent) {
			refused++
			f.t.Logf("describe: %v", err)
		}
		took = append(took, time.Since(asked))
		wait(f.t, 5*time.Millisecond)
	}
	judge(f.t, refused <= len(took)/2, "%d of %d reads were refused", refused, len(took))
	return took
}

func percentile(times []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Round(10 * time.Microsecond)
}
