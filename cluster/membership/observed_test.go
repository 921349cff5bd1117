package membership

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A broker restarted at its address, and the one before was removed. The registry lists
// that one until its time to live is over, and all the while its successor would have to
// answer every probe to stay.
func TestObserved_WhoWasRemovedCastsNoDoubtOnItsSuccessor(t *testing.T) {
	t.Parallel()
	listed := func(d *document, ids ...string) []string {
		o := newObserved()
		o.adopt(d, noon)
		var entries []Entry
		for _, id := range ids {
			e := entry(id)
			e.Address = "same:1"
			entries = append(entries, e)
		}
		o.listed(entries, noon, noon, time.Minute)
		var suspects []string
		for id := range o.suspects {
			suspects = append(suspects, id)
		}
		slices.Sort(suspects)
		return suspects
	}
	at := func(d *document) *document {
		for i := range d.Members {
			d.Members[i].Address = "same:1"
		}
		return d
	}
	require.Equal(t, []string{"new", "old"}, listed(at(doc(2, "new", "old")), "new", "old"), "one of them is no more")
	require.Equal(t, []string{"old"}, listed(at(doc(1, "old")), "new"), "the new one waits to be let in")
	after := at(doc(3, "new"))
	after.Gone = []gone{{ID: "old"}}
	require.Empty(t, listed(after, "new", "old"))
	require.Empty(t, listed(after, "old"), "an answer from before the new one was listed")
}
