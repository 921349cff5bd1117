//go:build fleet

package membership_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// F5: a broker that reaches the registry but not the others does not join: it would
// stop them, and be removed, again and again.
func TestKeeper_WaitsToJoinUntilItReachesTheMembers(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a := start(t, registry, o, "a")
	await(t, "it to be listed: who is not may be dead", func() bool {
		entries, err := a.Listed(t.Context())
		return err == nil && len(entries) == 1
	})
	var healed atomic.Bool
	asked := func(context.Context, membership.Member) error {
		if healed.Load() {
			return membership.ErrOtherEpoch
		}
		return context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*o.TTL)
	defer cancel()
	err := open(t, registry, o).Join(ctx, member("b"), asked)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "member a")
	require.EqualValues(t, 1, a.Current().Epoch, "nobody was disturbed")
	answer, late := make(chan error, 1), open(t, registry, o)
	go func() { answer <- late.Join(t.Context(), member("c"), asked) }()
	healed.Store(true)
	require.NoError(t, <-answer)
	await(t, "both", func() bool { return len(a.Current().Members) == 2 })
}

// F5: a member that lives but has no contact with the registry is removed in the end, and
// knows long before that it may not answer for the fleet.
func TestKeeper_RemovesALivingMemberThatTheRegistryMissesForLong(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	line := registry.Connect()
	cut, stays := membership.New(line, o), open(t, registry, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = cut.Leave(ctx)
	})
	require.NoError(t, stays.Join(t.Context(), member("stays"), speaking(map[string]*membership.Keeper{"cut": cut})))
	require.NoError(t, cut.Join(t.Context(), member("cut"), speaking(map[string]*membership.Keeper{"stays": stays})))
	await(t, "both", func() bool { return len(stays.Current().Members) == 2 })
	line.Cut()
	await(t, "contact to be lost", func() bool { return cut.Contact() != nil })
	require.True(t, stays.Current().Has("cut"), "it lives, and may be back in a moment")
	await(t, "it to be removed", func() bool { return !stays.Current().Has("cut") })
	await(t, "no contact: the word of the other counts no longer than the time to live", func() bool { return cut.Contact() != nil })
	await(t, "contact", func() bool { return stays.Contact() == nil })
	line.Mend()
	await(t, "it to find out", func() bool {
		select {
		case <-cut.Removed():
			return true
		default:
			return false
		}
	})
}

// speaking is a probe among some brokers, as package fleet does it.
func speaking(all map[string]*membership.Keeper) membership.Probe {
	return func(_ context.Context, m membership.Member) error {
		if all[m.ID].Confirmed() {
			return membership.ErrConfirmed
		}
		return nil
	}
}

// F5, F19, promises 2 and 3: two of three brokers share an agent of Consul that is dead.
// They confirm each other, and must not go by that: the third goes on without them.
func TestKeeper_TwoThatAreCutOffTogetherLoseContact(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.TTL *= 2 // time for a busy machine, until the two are removed
	registry := membership.NewMemory(o.TTL)
	all, lines := map[string]*membership.Keeper{}, map[string]*membership.Line{}
	for _, id := range []string{"a", "b", "c"} {
		lines[id] = registry.Connect()
		all[id] = membership.New(lines[id], o)
	}
	for id, k := range all {
		require.NoError(t, k.Join(t.Context(), member(id), speaking(all)))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_ = k.Leave(ctx)
		})
	}
	for _, k := range all {
		await(t, "one view", func() bool { return len(k.Current().Members) == 3 })
	}
	lines["b"].Cut()
	lines["c"].Cut()
	await(t, "b to lose contact", func() bool { return all["b"].Contact() != nil })
	await(t, "c to lose contact", func() bool { return all["c"].Contact() != nil })
	require.NoError(t, all["a"].Contact())
	require.Len(t, all["a"].Current().Members, 3, "long before anybody goes on without them")
	lines["a"].Cut()
	for id, k := range all {
		await(t, "contact by all: now nobody goes on without "+id, func() bool { return k.Contact() == nil })
	}
}

// F5, F19: one that the registry misses and that says itself that it has no contact is
// removed long before one that might go on.
func TestKeeper_RemovesAMemberThatSaysThatItHasNoContact(t *testing.T) {
	t.Parallel()
	var log logged
	o := quick(t)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	registry := membership.NewMemory(o.TTL)
	line := registry.Connect()
	cut, stays := membership.New(line, o), open(t, registry, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = cut.Leave(ctx)
	})
	asked := func(context.Context, membership.Member) error {
		if errors.Is(cut.Contact(), membership.ErrNoContact) {
			return membership.ErrOutOfContact
		}
		return nil
	}
	require.NoError(t, stays.Join(t.Context(), member("stays"), asked))
	require.NoError(t, cut.Join(t.Context(), member("cut"), func(context.Context, membership.Member) error { return membership.ErrConfirmed }))
	await(t, "both", func() bool { return len(stays.Current().Members) == 2 })
	line.Cut()
	await(t, "it to be removed", func() bool { return !stays.Current().Has("cut") })
	require.Contains(t, log.String(), "it has no contact with the fleet")
}

// failing is a registry that does not count one broker as healthy.
type failing struct {
	membership.Registry
	id, why string
}

func (f failing) Healthy(ctx context.Context, after uint64, wait time.Duration) ([]membership.Entry, uint64, error) {
	entries, index, err := f.Registry.Healthy(ctx, after, wait)
	for i := range entries {
		if entries[i].ID == f.id {
			entries[i].Failing = f.why
		}
	}
	return entries, index, err
}

// An operator sees why a broker is not let in.
func TestKeeper_SaysWhyTheRegistryCountsItAsFailing(t *testing.T) {
	t.Parallel()
	var log logged
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	open := func() *membership.Keeper {
		return membership.New(failing{registry.Connect(), "b", "check serfHealth is critical"}, o)
	}
	a := open()
	require.NoError(t, join(t, a, "a"))
	t.Cleanup(func() { _ = a.Leave(context.Background()) })
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	k := open()
	ctx, cancel := context.WithTimeout(t.Context(), 2*o.TTL)
	defer cancel()
	require.ErrorContains(t, k.Join(ctx, member("b"), func(context.Context, membership.Member) error { return membership.ErrOtherEpoch }), "check serfHealth is critical")
	require.Contains(t, log.String(), "the registry counts this broker as failing")
	listed, err := a.Listed(t.Context())
	require.NoError(t, err)
	require.Len(t, listed, 1, "%v", listed)
}
