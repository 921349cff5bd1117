//go:build fleet

package membership_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// The last one leaves while the registry moves, with an older view and without the mark
// of who left before: nobody is there to take note.
func TestKeeper_DoesNotWaitForWhomTheRegistryHasMissedForLong(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a, b := start(t, registry, o, "a"), start(t, registry, o, "b")
	await(t, "one view", func() bool { return len(a.Current().Members) == 2 && len(b.Current().Members) == 2 })
	past := registry.Document()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Leave(ctx))
	await(t, "a to be out", func() bool { return len(b.Current().Members) == 1 })

	older, err := membership.Succeed(past, epochOf(t, registry))
	require.NoError(t, err)
	registry.Put(older)
	await(t, "a to be back in the view", func() bool { return len(b.Current().Members) == 2 })
	require.NoError(t, b.Leave(ctx))
}

// The mark of a broker that leaves is lost with the place where the registry was.
func TestKeeper_SaysAgainThatItLeaves(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a := start(t, registry, o, "a")
	// Another member, which is listed and takes note of nothing.
	other := registry.Connect()
	require.NoError(t, other.Register(t.Context(), membership.Entry{ID: "b", Address: member("b").Address,
		Protocol: membership.Protocol, Oldest: membership.OldestProtocol}))
	await(t, "both to be members", func() bool { return other.Beat(t.Context(), "b") == nil && len(a.Current().Members) == 2 })

	leaving, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- a.Leave(leaving) }()
	marked := func() bool {
		place, _, err := other.Fleet(t.Context(), 0, 0)
		return err == nil && other.Beat(t.Context(), "b") == nil && slices.Contains(place.Left, "a")
	}
	await(t, "the mark", marked)
	place, _, err := other.Fleet(t.Context(), 0, 0)
	require.NoError(t, err)
	swapped, err := other.Swap(t.Context(), place.Version, place.Document, []string{"a"})
	require.NoError(t, err)
	require.True(t, swapped)
	await(t, "the mark again", marked)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
}
