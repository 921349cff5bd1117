//go:build fleet

package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// F47: a broker that speaks no protocol of the fleet's is refused, says why and what to
// do, and the fleet does not notice.
func TestFleet_RefusesABrokerThatIsTooNew(t *testing.T) {
	t.Parallel()
	far := distant.build(t)
	f := startFleet(t, 2, 2)
	load := f.load(2)
	load.awaitAccepted(20)
	changes := strings.Count(f.logs(), "the fleet changed")
	stranger := f.prepare()
	stranger.program = far.broker
	said := stranger.refused()
	require.Contains(t, said, "speaks protocol 1 to 1, this broker 2 to 3")
	require.Contains(t, said, "this version is too new for it; upgrade the fleet to the versions in between first")
	load.awaitAccepted(20)
	load.check(f.brokers...)
	require.Empty(t, load.failed)
	require.Equal(t, changes, strings.Count(f.logs(), "the fleet changed"), "the view is as it was")
}

// F47: so is one that is too old.
func TestFleet_RefusesABrokerThatIsTooOld(t *testing.T) {
	t.Parallel()
	far := distant.build(t)
	f := startFleetOf(t, 0, far.broker)
	changes := strings.Count(f.logs(), "the fleet changed")
	said := f.prepare().refused()
	require.Contains(t, said, "the fleet speaks protocol 2 or newer, this broker up to 1: start the version that the others run")
	require.NoError(t, f.brokers[0].healthy())
	require.Equal(t, changes, strings.Count(f.logs(), "the fleet changed"), "the view is as it was")
}

// refused starts a broker that must end by itself, and returns what it said.
func (b *broker) refused() string {
	b.t.Helper()
	b.proc = start(b.t, b.log, b.program, "--config", b.file)
	require.NotZero(b.t, b.proc.exitCode())
	lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	last := lines[len(lines)-1]
	b.t.Logf("the last line: %s", last)
	require.Contains(b.t, last, "this broker cannot work with the fleet's version", "the error stream ends with the reason")
	return last
}

// F46: agents and brokers more than two minor versions apart part at hello, and both say
// which versions it is about and which of them is to be upgraded.
func TestFleet_RefusesAgentsTooFarApart(t *testing.T) {
	t.Parallel()
	far := distant.build(t)
	for name, c := range map[string]struct{ broker, agent, said string }{
		"newer": {brokerProgram, far.agent, "this broker speaks agent protocol 1.0 and works with agents of 1.0 to 1.2; this agent speaks 1.3: upgrade the broker"},
		"older": {far.broker, agentProgram, "this broker speaks agent protocol 1.3 and works with agents of 1.1 to 1.5; this agent speaks 1.0: upgrade the agent"},
	} {
		t.Run("an agent that is "+name, func(t *testing.T) {
			t.Parallel()
			b := startBrokerOf(t, c.broker)
			h := b.startHost("h", hostOptions{agent: c.agent})
			for what, log := range map[string]func() string{"the broker's log": b.log.String, "the agent's log": h.agentLog} {
				await(t, what, func() error {
					if !strings.Contains(log(), c.said) {
						return errors.New("it does not say why")
					}
					return nil
				})
			}
			all, err := b.api.servers()
			require.NoError(t, err)
			require.Empty(t, all)
		})
	}
}
