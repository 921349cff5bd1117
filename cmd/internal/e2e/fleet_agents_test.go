//go:build fleet

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// rehomeLimit is the promise: so long after it lost its broker an agent is with another.
const rehomeLimit = 15 * time.Second

// noticeSlack is what a busy machine adds.
const noticeSlack = 6 * time.Second

// field is a fleet with agents as they are in the field, with the defaults of brokers
// (which other stories make shorter) and agents. Half of them know all brokers, the others the address of a balancer.
type field struct {
	*fleet
	onlooker *onlooker
}

func startField(t *testing.T, agents int) *field {
	t.Helper()
	t.Parallel()
	long(t, "it waits for agents at their real pace")
	f := startFleetOn(t, terrain{network: newNetwork(t, agents), limits: agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		front: true, settings: []string{"agent-ping-interval-seconds = 4"}}, agents, brokerProgram, brokerProgram, brokerProgram)
	return &field{f, f.watchSome(agents)}
}

// home is the broker that an agent is connected to, nil if to none.
func (f *field) home(i int) *broker {
	status := f.hosts[fmt.Sprintf("host-%d", i)].agent.Status()
	if !status.Connected {
		return nil
	}
	if status.Broker == frontAddress {
		return f.front.led(i)
	}
	return f.brokers[slices.IndexFunc(f.brokers, func(b *broker) bool { return b.agentAddress() == status.Broker })]
}

// at are the agents of a broker.
func (f *field) agentsAt(b *broker) (all []int) {
	for i := range len(f.hosts) {
		if f.home(i) == b {
			all = append(all, i)
		}
	}
	return all
}

// rehomed waits until some agents are back, as a report of theirs that was confirmed
// shows, and says after which times. None may need longer than the limit.
func (f *field) rehomed(what string, agents []int, since time.Time) []time.Duration {
	f.t.Helper()
	require.NotEmpty(f.t, agents, "agents to look at")
	back := map[int]time.Duration{}
	await(f.t, "agents to be back: "+what, func() error {
		for _, i := range agents {
			status := f.hosts[fmt.Sprintf("host-%d", i)].agent.Status()
			if _, counted := back[i]; !counted && status.Connected && status.LastAck.After(since) {
				back[i] = time.Since(since)
			}
		}
		if len(back) < len(agents) {
			return fmt.Errorf("%d of %d", len(back), len(agents))
		}
		return nil
	})
	var times []time.Duration
	for _, took := range back {
		times = append(times, took)
	}
	slices.Sort(times)
	f.t.Logf("%s: %d agents back after %v to %v, half of them after %v", what, len(times),
		times[0].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), times[len(times)/2].Round(time.Millisecond))
	judge(f.t, times[len(times)-1] <= rehomeLimit, "%s: an agent needed %v", what, times[len(times)-1])
	return times
}

// F1, F4, F15: the broker of an agent is killed, or pauses. The agent is with another one
// within 15 seconds, whether it knows all brokers or a balancer, not all in one moment,
// and no session leaves READY.
func TestFleet_AgentsFindAnotherBroker(t *testing.T) {
	const agents = 150
	f := startField(t, agents)
	victim := f.brokers[0]
	lost := f.agentsAt(victim)
	died := time.Now()
	victim.proc.kill()
	times := f.rehomed("kill -9", lost, died)
	require.Greater(t, times[len(times)-1]-times[0], 100*time.Millisecond, "they are to come one by one")
	victim.start()

	victim = f.brokers[1]
	lost = f.agentsAt(victim)
	paused := time.Now()
	victim.freeze()
	defer victim.thaw()
	f.rehomed("SIGSTOP", lost, paused)
	victim.thaw()
	await(t, "the paused broker to be back", victim.healthy)
	f.onlooker.await(shown, f.brokers...)
	f.onlooker.report(died)
	f.awaitHosts(f.brokers...)
	f.onlooker.stop()
	require.NotContains(t, f.logs(), "panic")
}

// F6, F7: the line of an agent goes dead, both ways or one way, and nothing tells either
// end, as after hibernation. Both notice after three beats without a sign of life, and the agent is with
// another broker, within 15 seconds; no session leaves READY.
func TestFleet_AgentsNoticeADeadLine(t *testing.T) {
	const agents = 60
	f := startField(t, agents)
	lines := map[string][]int{}
	kinds := []string{"both ways", "from the agent", "from the broker"}
	var dead []rule
	since := time.Now()
	n := 0
	for i := range agents {
		b := f.home(i)
		if i%2 == 1 || b == nil { // a balancer would see the same as its agents
			continue
		}
		kind := kinds[n%len(kinds)]
		n++
		lines[kind] = append(lines[kind], i)
		there, here := b.site.host(), f.terrain.network.agent(i)
		if kind != "from the agent" {
			dead = append(dead, rule{there, here})
		}
		if kind != "from the broker" {
			dead = append(dead, rule{here, there})
		}
	}
	f.terrain.network.lose(everything, dead)
	cut := time.Now()
	for _, kind := range kinds {
		f.rehomed(kind, lines[kind], cut)
	}
	await(t, "the brokers to notice, too", func() error {
		logs := f.logs()
		for _, all := range lines {
			for _, i := range all {
				if !strings.Contains(logs, "agent disconnected remote="+f.terrain.network.agent(i)+":") {
					return fmt.Errorf("agent %d", i)
				}
			}
		}
		return nil
	})
	t.Logf("the brokers have noticed after %v", time.Since(cut).Round(time.Millisecond))
	// What came over the line in the last moment may have been sent a beat after the cut.
	noticed := time.Since(cut)
	judge(t, noticed <= 4*4*time.Second+noticeSlack, "the brokers needed %v, not three beats after the last sign of life", noticed)
	f.terrain.network.heal()
	f.awaitHosts(f.brokers...)
	f.onlooker.stop()
	f.onlooker.stays(shown, since, f.brokers...)
	require.NotContains(t, f.logs(), "panic")
}
