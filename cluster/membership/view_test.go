package membership

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/messages"
)

func viewOf(ids []string) *View {
	v := &View{Epoch: 1}
	for _, id := range ids {
		v.Members = append(v.Members, Member{ID: id})
	}
	return v
}

// engine.md chapter 2: with the library's hash, names that differ in their last byte
// gave 50/25/25 %.
func TestView_SpreadsGrainsEvenly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(2, 9).Draw(t, "members")
		prefix := rapid.StringMatching(`[a-z0-9.:]{0,20}`).Draw(t, "prefix")
		var ids []string
		for i := range members {
			ids = append(ids, fmt.Sprint(prefix, i))
		}
		v, grains, counts := viewOf(ids), 1000*members, map[string]int{}
		for i := range grains {
			owner, ok := v.Owner(messages.KindSession, fmt.Sprint(prefix, i))
			require.True(t, ok)
			counts[owner.ID]++
		}
		for _, id := range ids {
			require.InDelta(t, 1000, counts[id], 200, "%v", counts)
		}
	})
}

// A member that leaves or joins moves only its own grains, and all who have the same
// view agree, in whatever order it lists the members.
func TestView_OnlyTheGrainsOfWhoLeftMove(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9]{1,12}`), 2, 8, rapid.ID[string]).Draw(t, "members")
		gone := rapid.IntRange(0, len(ids)-1).Draw(t, "gone")
		before := viewOf(rapid.Permutation(ids).Draw(t, "order"))
		var rest []string
		for i, id := range ids {
			if i != gone {
				rest = append(rest, id)
			}
		}
		after := viewOf(rest)
		require.False(t, after.Has(ids[gone]))
		for i := range 200 {
			id := fmt.Sprint("grain", i)
			was, _ := before.Owner(messages.KindSession, id)
			same, _ := viewOf(ids).Owner(messages.KindSession, id)
			require.Equal(t, was, same)
			if is, _ := after.Owner(messages.KindSession, id); was.ID != ids[gone] {
				require.Equal(t, was, is)
			}
		}
	})
}

func TestView_EmptyHasNoOwner(t *testing.T) {
	t.Parallel()
	_, ok := (&View{}).Owner(messages.KindSession, "a")
	require.False(t, ok)
}

// Kind and id are told apart where one ends and the other begins.
func TestView_KindsOfOneNameArePlacedApart(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, score("m", "ab", "c"), score("m", "a", "bc"))
}
