package roster

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/messages"
)

// Ids whose hashes collide are as good as others, also in pictures taken before.
func TestByID_IsAMapWhateverTheHash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.Uint64Range(1, 4).Draw(t, "different hashes")
		x := newByID[*Session]()
		x.hash = func(id string) uint64 { return uint64(id[0]) % values }
		model, before := map[string]*Session{}, map[string]*Session{}
		old := x.copy()
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			id := string(rapid.ByteRange('a', 'h').Draw(t, "id"))
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				got, known := x.remove(id)
				require.Same(t, model[id], got)
				require.Equal(t, model[id] != nil, known)
				delete(model, id)
			case 1:
				old, before = x.copy(), map[string]*Session{}
				for id, e := range model {
					before[id] = e
				}
			default:
				e := &Session{View: &messages.SessionView{Id: id}}
				x.set(id, e)
				model[id] = e
			}
			requireSame(t, model, x)
			requireSame(t, before, old)
		}
	})
}

func requireSame(t *rapid.T, want map[string]*Session, x byID[*Session]) {
	require.Equal(t, len(want), x.len())
	for c := byte('a'); c <= 'h'; c++ {
		got, ok := x.get(string(c))
		require.Equal(t, want[string(c)] != nil, ok)
		require.Same(t, want[string(c)], got)
	}
}
