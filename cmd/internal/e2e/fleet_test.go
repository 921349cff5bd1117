//go:build fleet

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/persistence/consul/consultest"
)

// fleet is brokers, each a process, that meet in one Consul or without one; agents with DCV
// servers in memory that know all brokers; and clients that do so, too.
type fleet struct {
	t       *testing.T
	terrain terrain
	consul  *consultest.Server // nil if they meet without
	brokers []*broker
	hosts   map[string]*simulated
	front   *front
	api     *client // with a token; of no broker in particular
}

// terrain is how a fleet differs from one on this machine with quick agents.
type terrain struct {
	network  *network
	settings []string
	agents   agent.Timing
	limits   agent.Limits
	front    bool                 // agents with odd numbers know one address only, behind which all brokers are
	meet     func(i int) []string // settings by which broker i finds the others; nil: in a Consul
}

// startFleet runs n brokers and some hosts, which all brokers show.
func startFleet(t *testing.T, n, hosts int) *fleet {
	t.Helper()
	return startFleetOf(t, hosts, slices.Repeat([]string{brokerProgram}, n)...)
}

// startFleetOf runs brokers of several programs.
func startFleetOf(t *testing.T, hosts int, programs ...string) *fleet {
	t.Helper()
	return startFleetOn(t, terrain{agents: quick, limits: agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		settings: []string{"agent-ping-interval-seconds = 1"}}, hosts, programs...)
}

func startFleetOn(t *testing.T, on terrain, hosts int, programs ...string) *fleet {
	t.Helper()
	long(t, "it needs a fleet of processes")
	f := &fleet{t: t, terrain: on, hosts: map[string]*simulated{}}
	if on.meet == nil {
		f.meetIn(consultest.Start(t, on.network.consul()))
	}
	for _, program := range programs {
		f.addOf(program)
	}
	first := f.brokers[0]
	f.api = first.newClient("portal")
	first.statementFile = filepath.Join(first.dir, "statement")
	require.NoError(t, os.WriteFile(first.statementFile, []byte(first.newStatement()), 0o600))
	for _, b := range f.brokers { // a client that was registered at another broker
		await(t, "the client to be known", func() error { _, err := f.at(b).servers(); return err })
	}
	for i := range hosts {
		name := fmt.Sprintf("host-%d", i)
		home := f.brokers[i%len(f.brokers)]
		home.statementFile = first.statementFile
		how := simulation{timing: on.agents, dial: on.network.agentDialer(i)}
		if on.front && i%2 == 1 {
			how = f.behindFront(i, how)
		}
		f.hosts[name] = home.simulateWith(name, on.limits, how, f.without(home)...)
	}
	f.awaitHosts(f.brokers...)
	return f
}

// meetIn has the brokers find each other in a Consul.
func (f *fleet) meetIn(consul *consultest.Server) {
	f.consul = consul
	f.terrain.meet = func(int) []string { return []string{"consul-address = " + consul.Address()} }
}

// add starts one more broker.
func (f *fleet) add() *broker {
	f.t.Helper()
	return f.addOf(brokerProgram)
}

// addOf starts one more broker, of a program.
func (f *fleet) addOf(program string) *broker {
	f.t.Helper()
	b := f.prepare()
	b.program = program
	b.start()
	f.brokers = append(f.brokers, b)
	return b
}

// prepare configures one more broker, settings winning over ours.
func (f *fleet) prepare(settings ...string) *broker {
	f.t.Helper()
	place := f.terrain.network.brokerSite(len(f.brokers))
	b := newBrokerAt(f.t, place, slices.Concat([]string{
		fmt.Sprintf("broker-to-broker-port = %d", freePort(f.t)),
		"broker-to-broker-bind-host = " + place.host(),
	}, f.terrain.meet(len(f.brokers)), f.terrain.settings, settings)...)
	if len(f.brokers) > 0 { // as an operator does it
		to := filepath.Join(b.dir, "work", "security")
		require.NoError(f.t, os.MkdirAll(to, 0o700))
		for _, name := range []string{"dcvsmbroker_ca.pem", "dcvsmbroker_ca_key.pem"} {
			data, err := os.ReadFile(filepath.Join(f.brokers[0].dir, "work", "security", name))
			require.NoError(f.t, err)
			require.NoError(f.t, os.WriteFile(filepath.Join(to, name), data, 0o600))
		}
	}
	return b
}

// without is all brokers but some.
func (f *fleet) without(some ...*broker) []*broker {
	return slices.DeleteFunc(slices.Clone(f.brokers), func(b *broker) bool { return slices.Contains(some, b) })
}

// at is the client speaking to one broker.
func (f *fleet) at(b *broker) *client {
	c := *f.api
	c.url = b.url()
	return &c
}

// awaitHosts waits until some brokers show all servers as available.
func (f *fleet) awaitHosts(brokers ...*broker) {
	f.t.Helper()
	for _, b := range brokers {
		for name := range f.hosts {
			f.at(b).awaitServer(name, "AVAILABLE", "")
		}
	}
}

// freeze is SIGSTOP, thaw SIGCONT.
func (b *broker) freeze() { _ = syscall.Kill(b.proc.cmd.Process.Pid, syscall.SIGSTOP) }
func (b *broker) thaw()   { _ = syscall.Kill(b.proc.cmd.Process.Pid, syscall.SIGCONT) }
