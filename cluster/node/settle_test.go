package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// Most brokers leave without a doubt about their last answers. A fleet in which they come
// and go for months does not remember each.
func TestSettle_ForgetsWhoLeftLongAgo(t *testing.T) {
	t.Parallel()
	var n Node
	view := func(ids ...string) *membership.View {
		v := &membership.View{}
		for _, id := range ids {
			v.Members = append(v.Members, membership.Member{ID: id})
		}
		return v
	}
	known := func() (ids []string) {
		n.gone.Range(func(id, _ any) bool { ids = append(ids, id.(string)); return true })
		return ids
	}
	for i := range 100 {
		n.rememberGone(view("self", fmt.Sprint(i)), view("self"))
	}
	require.Len(t, known(), 100)
	n.gone.Range(func(id, f any) bool {
		was := f.(former)
		was.since = was.since.Add(-goneTime - time.Second)
		n.gone.Store(id, was)
		return true
	})
	n.rememberGone(view("self", "last"), view("self"))
	require.Equal(t, []string{"last"}, known())
}
