//go:build fleet && !race

package clustertest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

var roomy = agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1}

// Promise 2: what a broker answered with success, every broker shows to the next request.
func TestFleet_ShowsEverywhereWhatOneBrokerAnswered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	for i, b := range f.brokers {
		f.host(fmt.Sprintf("host-%d", i), roomy, b)
	}
	f.awaitServers(3, f.brokers...)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	any := func() *client { return f.brokers[random.IntN(3)].api }
	for i := range 100 {
		s := any().create(fmt.Sprintf("user-%d", i))
		for _, b := range f.brokers {
			seen, err := b.api.session(s.ID)
			require.NoError(t, err, "round %d", i)
			require.Contains(t, []string{"CREATING", "READY"}, seen.State)
		}
		any().awaitState(s.ID, "READY")
		any().delete(s)
		for _, b := range f.brokers {
			seen, err := b.api.session(s.ID)
			require.NoError(t, err, "round %d", i)
			require.Contains(t, []string{"DELETING", "DELETED"}, seen.State, "round %d", i)
		}
	}
}
