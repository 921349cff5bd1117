//go:build fleet

package consul_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/consul"
	"opensessionmanager/persistence/consul/consultest"
)

// recorded are the epochs that somebody saw.
type recorded struct {
	mu    sync.Mutex
	views []*membership.View
}

func record(t *testing.T, k *membership.Keeper) *recorded {
	r := &recorded{}
	t.Cleanup(k.Watch(func(v *membership.View) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.views = append(r.views, v)
	}))
	return r
}

func (r *recorded) all() []*membership.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*membership.View{}, r.views...)
}

// F19: kill -9 of Consul, and its return with its data, changes no view.
func TestConsul_KilledAndBackWithItsData(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b", "c")
	sizes(t, 3, all)
	saw := record(t, all[0])
	for range 3 {
		server.Kill()
		server.Restart()
		contact(t, all)
	}
	require.Len(t, saw.all(), 1, "no view but the one before")
	all = append(all, start(t, cfg, "d")...)
	sizes(t, 4, all)
}

// F19: while Consul is down the members keep the view, and a majority of them its contact.
func TestConsul_DownAndUpAgain(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b", "c")
	sizes(t, 3, all)
	lonely := start(t, config(t, server.Address()), "x")[0] // of another fleet
	saw := record(t, all[0])
	server.Kill()
	await(t, "alone nobody knows what happens without Consul", func() bool { return errors.Is(lonely.Contact(), membership.ErrNoContact) })
	for _, k := range all {
		require.NoError(t, k.Contact(), "the others answer")
		require.Len(t, k.Current().Members, 3)
	}
	server.Restart()
	contact(t, append(all, lonely))
	require.Len(t, saw.all(), 1)
}

// F20: Consul's data is gone; the view is not.
func TestConsul_Wiped(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b", "c")
	sizes(t, 3, all)
	before := all[0].Current()
	saw := record(t, all[0])
	server.Wipe()
	for _, k := range all {
		await(t, "a higher epoch", func() bool { return k.Current().Epoch > before.Epoch })
	}
	contact(t, all)
	all = append(all, start(t, cfg, "d")...)
	sizes(t, 4, all)
	for _, v := range saw.all() {
		for _, m := range before.Members {
			require.True(t, v.Has(m.ID), "%s in epoch %d", m.ID, v.Epoch)
		}
	}
}

// A frozen Consul takes connections and answers nothing.
func TestConsul_FrozenForTenSeconds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes ten seconds to be frozen for ten seconds")
	}
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b", "c")
	sizes(t, 3, all)
	saw := record(t, all[0])
	server.Pause()
	frozen := time.NewTimer(10 * time.Second)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for on := true; on; {
		select {
		case <-look.C:
			require.Len(t, all[0].Current().Members, 3)
		case <-frozen.C:
			on = false
		}
	}
	require.NoError(t, all[0].Contact(), "by the majority")
	server.Resume()
	all = append(all, start(t, cfg, "d")...)
	sizes(t, 4, all)
	contact(t, all)
	views := saw.all()
	require.Len(t, views, 2, "the one before and the joiner")
}

// A leader is lost: another server of the cluster takes over.
func TestConsul_LosesItsLeader(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("three servers")
	}
	servers := consultest.StartCluster(t, 3, consultest.Options{})
	cfg := config(t, servers[0].Address())
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	saw := record(t, all[0])
	leader, err := client(t, cfg).Status().Leader()
	require.NoError(t, err)
	killed := 1
	for i, s := range servers {
		if info, err := client(t, consul.Config{Addresses: []string{s.Address()}}).Agent().Self(); err == nil &&
			info["Stats"]["raft"].(map[string]any)["state"] == "Leader" {
			killed = i
		}
	}
	t.Logf("the leader is %s, server %d", leader, killed)
	if killed == 0 { // the agent of the brokers: it comes back
		servers[0].Kill()
		servers[0].Restart()
	} else {
		servers[killed].Kill()
	}
	contact(t, all)
	all = append(all, start(t, cfg, "c")...)
	sizes(t, 3, all)
	require.Len(t, saw.all(), 2)
}

func TestConsul_NotThereAtStart(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	server.Kill()
	var log words
	cfg := config(t, server.Address())
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := open(t, cfg).Join(ctx, member("a"), alive)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused")

	joined := make(chan error, 1)
	late := open(t, cfg)
	go func() { joined <- late.Join(t.Context(), member("b"), alive) }()
	server.Restart()
	require.NoError(t, <-joined)
	require.LessOrEqual(t, strings.Count(log.String(), "trying on: reading"), 2, "once for each")
}

// words collects a log.
type words struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

const (
	management = "7c7e1b2e-53a2-4b1c-9a5e-0f3f54f0a001"
	restricted = "7c7e1b2e-53a2-4b1c-9a5e-0f3f54f0a002"
	blind      = "7c7e1b2e-53a2-4b1c-9a5e-0f3f54f0a003"
)

// The token is in every call, also in those that wait; the rights that the package's
// documentation names are enough; and no token is ever in a log.
func TestConsul_WithTokens(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{Token: management})
	var log words
	cfg := config(t, server.Address())
	cfg.Prefix, cfg.Token = "", management
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	acl := client(t, cfg).ACL()
	rights := `key_prefix "dcv-session-manager/" { policy = "write" }
		service "dcv-session-manager-broker" { policy = "write" }`
	for token, rules := range map[string]string{restricted: rights + ` node_prefix "" { policy = "read" }`, blind: rights} {
		policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: "p" + token[len(token)-1:], Rules: rules}, nil)
		require.NoError(t, err)
		_, _, err = acl.TokenCreate(&api.ACLToken{SecretID: token, Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
		require.NoError(t, err)
	}
	cfg.Token = restricted
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	contact(t, all)
	require.NoError(t, all[1].Leave(t.Context()))
	sizes(t, 1, all[:1])

	for token, why := range map[string]string{"": "Permission denied", blind: "may not see", "7c7e1b2e-53a2-4b1c-9a5e-0f3f54f0a004": "not allowed"} {
		cfg.Token = token
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err := open(t, cfg).Join(ctx, member("c"), alive)
		cancel()
		require.ErrorContains(t, err, why, "token %q", token)
		require.NotContains(t, err.Error(), "7c7e1b2e")
	}
	require.NotContains(t, log.String(), "7c7e1b2e")
}

// What is in the place of the view is not ours, or too much.
func TestConsul_GarbageInThePlaceOfTheView(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	for name, value := range map[string][]byte{"text": []byte("hello"), "empty": {}, "huge": make([]byte, 400<<10)} {
		cfg := config(t, server.Address())
		_, err := client(t, cfg).KV().Put(&api.KVPair{Key: cfg.Prefix + "/fleet/view", Value: value}, nil)
		require.NoError(t, err)
		err = open(t, cfg).Join(t.Context(), member("a"), alive)
		require.ErrorIs(t, err, membership.ErrForeign, name)
		require.ErrorContains(t, err, "Consul's key "+cfg.Prefix+"/fleet/view")
	}
}

func TestConsul_MoreThanAFleetInItsPlace(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	kv := client(t, cfg).KV()
	for _, n := range "abcdefghijkl" {
		_, err := kv.Put(&api.KVPair{Key: cfg.Prefix + "/fleet/left/" + string(n), Value: make([]byte, 400<<10)}, nil)
		require.NoError(t, err)
	}
	await(t, "it to be said", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := open(t, cfg).Join(ctx, member("a"), alive)
		return err != nil && strings.Contains(err.Error(), "too large") // else the answer has not come in time
	})
}

// An operator deletes the view only: the members write it anew.
func TestConsul_TheViewAloneIsDeleted(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	kv := client(t, cfg).KV()
	_, err := kv.Delete(cfg.Prefix+"/fleet/view", nil)
	require.NoError(t, err)
	all = append(all, start(t, cfg, "c")...)
	sizes(t, 3, all)
	pair, _, err := kv.Get(cfg.Prefix+"/fleet/view", nil)
	require.NoError(t, err)
	var document struct{ Epoch uint64 }
	require.NoError(t, json.Unmarshal(pair.Value, &document))
	require.Greater(t, document.Epoch, uint64(100))
}

// Fleets of other prefixes are other fleets, also under the same service name.
func TestConsul_TwoFleetsInOneConsul(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	one := start(t, config(t, server.Address()), "a", "b")
	other := start(t, config(t, server.Address()), "x", "y", "z")
	sizes(t, 2, one)
	sizes(t, 3, other)
	require.False(t, one[0].Current().Has("x"))
}

// A dead broker's service goes by itself, and a leaver's at once.
func TestConsul_ALeaverLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	require.NoError(t, all[1].Leave(t.Context()))
	sizes(t, 1, all[:1])
	c := client(t, cfg)
	services, err := c.Agent().Services()
	require.NoError(t, err)
	require.Contains(t, services, "dcv-session-manager-broker-a")
	require.NotContains(t, services, "dcv-session-manager-broker-b")
	keys, _, err := c.KV().Keys(cfg.Prefix+"/fleet/", "", nil)
	require.NoError(t, err)
	require.Equal(t, []string{cfg.Prefix + "/fleet/view"}, keys)
}

// What an operator has Consul check about a machine, and maintenance, decides nothing about
// the brokers on it.
func TestConsul_OtherChecksOfTheNodeDoNotMatter(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{})
	cfg := config(t, server.Address())
	a := start(t, cfg, "a")
	agent := client(t, cfg).Agent()
	require.NoError(t, agent.CheckRegister(&api.AgentCheckRegistration{Name: "disk",
		AgentServiceCheck: api.AgentServiceCheck{TTL: "1h", Status: api.HealthWarning}}))
	require.NoError(t, agent.EnableNodeMaintenance("the operator is at work"))
	all := append(a, start(t, cfg, "b")...)
	sizes(t, 2, all)
	require.NoError(t, agent.EnableServiceMaintenance(consul.DefaultService+"-b", "at this one, too"))
	all = append(all, start(t, cfg, "c")...)
	sizes(t, 3, all)
	contact(t, all)
}
