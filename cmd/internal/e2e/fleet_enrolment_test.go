//go:build fleet

package e2e

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// N10: a token that was made at one broker, for one host, is used at two others at once:
// exactly one host has it. What it was given counts at every broker.
func TestFleet_AnEnrolmentTokenIsForOneHost(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, 0)
	a, b, c := f.brokers[0], f.brokers[1], f.brokers[2]
	hosts := []*host{b.prepareHost("one", hostOptions{enrols: true}), c.prepareHost("two", hostOptions{enrols: true})}
	for round := range 3 {
		token := a.enrolmentToken("--uses", "1", "--valid-for", "10m")
		said := make([]outcome, len(hosts))
		var both sync.WaitGroup
		for i, h := range hosts {
			both.Go(func() { said[i] = h.enrol(token) })
		}
		both.Wait()
		won := 0
		for _, o := range said {
			if o.code == 0 {
				won++
				continue
			}
			require.Equal(t, 4, o.code, o.stderr)
			require.Contains(t, o.stderr, "used already")
		}
		require.Equal(t, 1, won, "round %d", round)
		require.Len(t, a.agentClients(), round+1)
	}

	token := a.enrolmentToken()
	h := hosts[0]
	require.Zero(t, h.enrol(token).code)
	for _, broker := range f.brokers { // its credentials count wherever it connects
		h.setBroker(broker)
		h.startAgent()
		for _, at := range f.brokers {
			f.at(at).awaitServer("one", "AVAILABLE", "")
		}
		h.agent.kill()
	}
	for _, broker := range f.brokers { // and the token is used up wherever it is shown
		late := broker.prepareHost("late-"+broker.dir[strings.LastIndexAny(broker.dir, "/\\")+1:], hostOptions{enrols: true})
		require.Equal(t, 4, late.enrol(token).code)
	}
	require.NotContains(t, a.auditTrail()+b.auditTrail()+c.auditTrail(), token[20:60])
}

// setBroker has the agent know another broker, and nothing of the one before.
func (h *host) setBroker(b *broker) {
	h.t.Helper()
	h.broker = b
	h.configure()
}
