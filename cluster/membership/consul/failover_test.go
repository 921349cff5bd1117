//go:build fleet

package consul_test

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/persistence/consul/consultest"
)

// Several agents of one cluster are named: the one that a broker is registered with
// dies, freezes, comes back. The broker goes on with another one and nobody leaves.
func TestConsul_GoesOnWithAnotherAgent(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("three servers")
	}
	servers := consultest.StartCluster(t, 3, consultest.Options{})
	cfg := config(t, servers[0].Address())
	cfg.Addresses = []string{servers[0].Address(), servers[1].Address(), servers[2].Address()}
	cfg.TTL = 3 * membership.DefaultTTL // a busy machine elects a leader slowly
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	contact(t, all)
	saw := record(t, all[0])
	for i, away := range []func(){servers[0].Kill, servers[1].Pause} {
		away()
		all = append(all, start(t, cfg, string(rune('c'+i)))...)
		sizes(t, 3+i, all)
		contact(t, all)
		if i == 0 {
			servers[0].Restart()
			canSpareOne(t, servers[2])
		}
	}
	servers[1].Resume()
	contact(t, all)
	for _, v := range saw.all() {
		require.True(t, v.Has("a") && v.Has("b"), "epoch %d: %v", v.Epoch, v.Members)
	}
	require.NoError(t, all[3].Leave(t.Context()))
	sizes(t, 3, all[:3])
}

// canSpareOne waits until a cluster does without another server: one that is back must be
// a voter again, or there is no leader any more when the next one goes.
func canSpareOne(t *testing.T, server *consultest.Server) {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: server.Address()})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		health, err := client.Operator().AutopilotServerHealth(nil)
		return err == nil && health.FailureTolerance > 0
	}, 3*patience, 100*time.Millisecond, "the servers of Consul can spare none")
}

// The first address of a list is dead from the start.
func TestConsul_AnAddressThatIsDeadFromTheStart(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	cfg.Addresses = []string{"127.0.0.1:1", "http://192.0.2.1:8500", server.Address()} // refuses, is not there
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	contact(t, all)
	require.NoError(t, all[1].Leave(t.Context()))
	sizes(t, 1, all[:1])
}
