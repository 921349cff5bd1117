//go:build fleet

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// hold is how long a network stays split: longer than it takes to notice, shorter than
// the grace time of agents.
const hold = 14 * time.Second

// split is a fleet of three brokers, each in a network namespace, with clients at work
// and a onlooker. The hosts are small, so that they are full now and then.
type split struct {
	*fleet
	load     *load
	onlooker *onlooker
	since    time.Time
}

func startSplit(t *testing.T) *split {
	t.Helper()
	t.Parallel()
	long(t, "it needs a fleet in network namespaces")
	const hosts = 6
	f := startFleetOn(t, terrain{network: newNetwork(t, hosts), agents: quick, limits: agent.Limits{MaxVirtual: 10, MaxPerUser: -1, MaxConsole: 1},
		settings: []string{"agent-ping-interval-seconds = 1"}}, hosts, brokerProgram, brokerProgram, brokerProgram)
	s := &split{fleet: f, onlooker: f.watch()}
	s.load = f.pacedLoad(3, 30*time.Millisecond)
	for id, owner := range s.onlooker.owners {
		s.load.own(id, owner)
	}
	s.load.awaitAccepted(30)
	s.since = time.Now()
	return s
}

func (s *split) net() *network      { return s.terrain.network }
func (s *split) consulAt() []string { return []string{s.net().announce.address} }

// agentsOf are the addresses of the agents that are connected to a broker.
func (s *split) agentsOf(b *broker) (all []string) {
	for i := range len(s.hosts) {
		if s.hosts[fmt.Sprintf("host-%d", i)].agent.Status().Broker == b.agentAddress() {
			all = append(all, s.net().agent(i))
		}
	}
	return all
}

// pass lets the rest of the time pass while nothing may be overbooked.
func (s *split) pass(whole time.Duration) {
	s.t.Helper()
	for time.Since(s.since) < whole {
		for name, h := range s.hosts {
			require.NoError(s.t, exceeded(h), name)
		}
		wait(s.t, 100*time.Millisecond)
	}
}

// healAndCheck ends the fault: soon all brokers are well, show the same, and nothing is
// lost, doubled or overbooked.
func (s *split) healAndCheck() {
	s.t.Helper()
	s.net().heal()
	healed := time.Now()
	for _, b := range s.brokers {
		await(s.t, "a healthy broker", b.healthy)
	}
	s.onlooker.await(shown, s.brokers...)
	s.t.Logf("all brokers are well %v after the network", time.Since(healed).Round(time.Millisecond))
	s.load.awaitAccepted(5)
	s.onlooker.report(s.since)
	s.load.report(s.since)
	s.load.check(s.brokers...)
	s.awaitHosts(s.brokers...)
	for name, h := range s.hosts {
		require.NoError(s.t, exceeded(h), name)
	}
	s.onlooker.stop()
	require.NotContains(s.t, s.logs(), "panic")
}

// refuses waits until a broker refuses creates with a status that says so and a reason.
func (s *split) refuses(b *broker) {
	s.t.Helper()
	await(s.t, "creates to be refused", func() error {
		a, err := s.at(b).try(http.MethodPost, "/createSessions", list{virtual("nobody")})
		if err != nil {
			return err
		}
		if a.status != http.StatusServiceUnavailable || a.header.Get("X-Error-Code") == "" {
			s.load.keep("nobody", a)
			return fmt.Errorf("status %d: %s", a.status, a.body)
		}
		s.t.Logf("%v after the event creates are refused with %s", time.Since(s.since).Round(time.Millisecond), a.header.Get("X-Error-Code"))
		return nil
	})
}

// accepts waits until a create succeeds at each of some brokers.
func (s *split) accepts(brokers ...*broker) {
	s.t.Helper()
	for _, b := range brokers {
		await(s.t, "a create to be accepted at "+b.url(), func() error {
			s.makeRoom(b)
			a, err := s.at(b).try(http.MethodPost, "/createSessions?explain=true", list{virtual("somebody")})
			if err == nil && countAccepted(a) == 0 {
				err = errors.New(string(a.body))
			}
			if err == nil {
				s.load.keep("somebody", a)
			}
			return err
		})
	}
	s.t.Logf("%v after the event creates are accepted at %d brokers", time.Since(s.since).Round(time.Millisecond), len(brokers))
}

// makeRoom deletes a session that clients of the load made.
func (s *split) makeRoom(b *broker) {
	if id, owner := s.load.take(); id != "" {
		_, _ = s.at(b).try(http.MethodPost, "/deleteSessions", list{object{"SessionId": id, "Owner": owner}})
	}
}

// F5: one broker is cut off from the two others, and all reach Consul. The two go on
// without it; it refuses until it is back among them.
func TestFleet_SplitOneBrokerFromTheOthers(t *testing.T) {
	s := startSplit(t)
	one, others := s.brokers[0], s.brokers[1:]
	s.net().cut(addresses(one), addresses(others...))
	s.onlooker.await("refused", one)
	s.refuses(one)
	s.onlooker.await(shown, others...)
	s.accepts(others...)
	calm := time.Now()
	s.pass(hold)
	s.onlooker.stays(shown, calm, others...)
	s.onlooker.stays("refused", calm, one)
	s.healAndCheck()
}

// F5: one broker is cut off from everything but its own agents and clients.
func TestFleet_SplitOneBrokerWithItsAgents(t *testing.T) {
	s := startSplit(t)
	one, others := s.brokers[0], s.brokers[1:]
	s.net().cut(append(addresses(one), s.agentsOf(one)...), append(addresses(others...), s.consulAt()...))
	s.onlooker.await("refused", one)
	s.refuses(one)
	s.onlooker.await(shown, others...)
	s.accepts(others...)
	calm := time.Now()
	s.pass(hold)
	s.onlooker.stays(shown, calm, others...)
	s.onlooker.stays("refused", calm, one)
	s.healAndCheck()
}

// F5, F19: one broker does not reach Consul, and so cannot write. What it owned passes to
// the others, its agents too.
func TestFleet_SplitOneBrokerFromConsul(t *testing.T) {
	s := startSplit(t)
	one, others := s.brokers[0], s.brokers[1:]
	s.net().cut(addresses(one), s.consulAt())
	s.deletable(12, others...)
	s.awaitRehomed(one, s.since)
	s.accepts(others...)
	s.refuses(one)
	s.pass(hold)
	s.onlooker.stays(shown, s.since, others...)
	s.healAndCheck()
}

// F5, F19: nobody reaches Consul. Reads go on, writes are refused.
func TestFleet_SplitConsulFromAll(t *testing.T) {
	s := startSplit(t)
	s.net().cut(addresses(s.brokers...), s.consulAt())
	for _, b := range s.brokers {
		s.refuses(b)
	}
	s.pass(hold)
	s.onlooker.stays(shown, s.since, s.brokers...)
	s.healAndCheck()
}

// F5, F6: packets of one broker to one other are lost, and only those. One of the two
// leaves the fleet, and the others go on.
func TestFleet_SplitOneWay(t *testing.T) {
	s := startSplit(t)
	s.net().loseOneWay(everything, addresses(s.brokers[0]), addresses(s.brokers[1]))
	s.onlooker.await(shown, s.brokers[2])
	s.accepts(s.brokers[2])
	calm := time.Now()
	s.pass(hold)
	s.onlooker.stays(shown, calm, s.brokers[2])
	s.healAndCheck()
}

// deletable waits until sessions, wherever their grains were, can be deleted.
func (s *split) deletable(n int, brokers ...*broker) {
	s.t.Helper()
	for i := range n {
		id, owner := s.load.take()
		if id == "" {
			break
		}
		b := brokers[i%len(brokers)]
		await(s.t, "the deletion of "+id, func() error {
			a, err := s.at(b).try(http.MethodPost, "/deleteSessions?explain=true", list{object{"SessionId": id, "Owner": owner}})
			if err != nil {
				return err
			}
			var out results
			if err := json.Unmarshal(a.body, &out); err != nil || len(out.SuccessfulList) != 1 && !deletedAlready(out) {
				return fmt.Errorf("%d: %s", a.status, a.body)
			}
			return nil
		})
	}
	s.t.Logf("%v after the event %d sessions are deleted", time.Since(s.since).Round(time.Millisecond), n)
}
