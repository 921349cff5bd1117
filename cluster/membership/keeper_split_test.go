//go:build fleet

package membership_test

import (
	"context"
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
	confirmedBy := func(k *membership.Keeper) membership.Probe {
		return func(context.Context, membership.Member) error {
			if k.Confirmed() {
				return membership.ErrConfirmed
			}
			return nil
		}
	}
	require.NoError(t, stays.Join(t.Context(), member("stays"), confirmedBy(cut)))
	require.NoError(t, cut.Join(t.Context(), member("cut"), confirmedBy(stays)))
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
