package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Promise 3: a broker that starts has what was stored then, and does not say that
// something is absent before it knows whom to ask what came since.
func TestRoster_IsBehindUntilItKnowsTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.deps.Roster.Behind(), "without a fleet it has everything")
	w.deps.Roster.AwaitOthers()
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind)
	w.deps.Roster.SetOthers(&RostersChanged{Self: "a", Others: map[string]string{"b": "127.0.0.1:1"}})
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind, "the other one has not been heard of")
	w.deps.Roster.SetOthers(&RostersChanged{Self: "a"})
	await(t, "the roster to know that it is alone", w.deps.Roster.Behind)
}
