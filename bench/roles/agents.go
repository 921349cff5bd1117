package roles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/bench/child"
	"opensessionmanager/bench/fixture"
)

// AgentsConfig says how many hosts to simulate, and with which sessions.
type AgentsConfig struct {
	Broker, CAFile string // Broker may be several addresses, separated by commas
	Count          int
	// Servers and Sessions are how many the fixture has in all; a host has its share.
	Servers, Sessions int
	// Live marks the hosts with the tag of fixture.LiveRequirement.
	Live bool
	// PerSecond is how many connect in a second.
	PerSecond int
}

// agents are simulated hosts: the product's agent around a DCV server in memory.
type agents struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	all     []*agent.Agent
}

func (a *agents) commands() child.Commands {
	return child.Commands{
		cmdStart:    child.Command(a.start),
		"connected": child.Command(func(struct{}) (any, error) { return a.connected(""), nil }),
		"away":      child.Command(func(from string) (any, error) { return a.connected(from), nil }),
	}
}

func (a *agents) start(c AgentsConfig) (any, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := agent.NewTransport(&tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil)
	server := fake.DefaultServer()
	for i := range c.Count {
		driver := fake.New(server)
		fixture.Fill(driver, i, max(c.Servers, 1), c.Sessions)
		one, err := agent.New(agent.Config{
			Brokers: strings.Split(c.Broker, ","), Transport: transport, Driver: driver,
			Host:     agent.StaticHost{Known: fixture.Facts(i, c.Live), Busy: fixture.Load(i)},
			Identity: identity.InMemory(fixture.MachineID(i), "boot-1"),
			Limits:   agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
			Timing:   agent.Timing{Dial: time.Minute, Hello: time.Minute},
			Version:  "bench", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		a.all = append(a.all, one)
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	a.running.Go(func() { a.connect(ctx, max(c.PerSecond, 1)) })
	return nil, nil
}

// connect starts the agents at a rate the broker can follow.
func (a *agents) connect(ctx context.Context, perSecond int) {
	pace := rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/10))
	for _, one := range a.all {
		if pace.Wait(ctx) != nil {
			return
		}
		a.running.Go(func() { _ = one.Run(ctx) }) // ends without an error when ctx does
	}
}

// connected counts the agents that are at a broker other than one.
func (a *agents) connected(other string) (n int) {
	for _, one := range a.all {
		if s := one.Status(); s.Connected && s.Broker != other {
			n++
		}
	}
	return n
}

func (a *agents) stop() error {
	if a.cancel != nil {
		a.cancel()
		a.running.Wait()
	}
	return nil
}
