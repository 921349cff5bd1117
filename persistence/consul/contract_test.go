package consul

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul/consultest"
	"opensessionmanager/persistence/memory"
	"opensessionmanager/persistence/persistencetest"
)

func TestConsulKeepsTheContract(t *testing.T) {
	t.Parallel()
	persistencetest.Run(t, open)
}

// The documented difference from the contract's minimum: no version comes twice.
func TestConsul_AVersionIsNeverUsedTwice(t *testing.T) {
	t.Parallel()
	s := open(t)
	first := save(t, s, record("a", 0, "x"))
	require.NoError(t, s.Delete(t.Context(), record("a", 0, "").Key, first))
	second := save(t, s, record("a", 0, "x"))
	require.Greater(t, second, first)
	_, err := s.Save(t.Context(), record("a", first, "y"))
	require.ErrorIs(t, err, persistence.ErrConflict, "a writer from before the delete must not overwrite the new record")
}

// Around the 64 operations of a transaction, of which one is ours, a save is one and a
// delete two.
func TestApply_AroundTheBoundOfATransaction(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, n := range []int{1, 31, 32, 33, 62, 63, 64, 65, 126, 127, 128, 129} {
		ops := make([]persistence.Op, n)
		for i := range ops {
			ops[i] = put(fmt.Sprintf("%d-%d", n, i), 0, "x")
		}
		for i, r := range s.Apply(t.Context(), ops) {
			require.NoError(t, r.Err, "save %d of %d", i, n)
			requireRecord(t, s, record(ops[i].Record.Key.ID, r.Version, "x"))
			ops[i] = remove(ops[i].Record.Key.ID, r.Version)
		}
		for i, r := range s.Apply(t.Context(), ops) {
			require.NoError(t, r.Err, "delete %d of %d", i, n)
		}
		page, err := s.Scan(t.Context(), "thing", "", 1)
		require.NoError(t, err)
		require.Empty(t, page)
	}
}

// A transaction is all or nothing; a batch is not.
func TestApply_FewConflictsInALargeBatchHurtOnlyThemselves(t *testing.T) {
	t.Parallel()
	s := open(t)
	stale := save(t, s, record("stale", 0, "old"))
	current := save(t, s, record("stale", stale, "newer"))
	const n = 500
	ops := make([]persistence.Op, n)
	for i := range ops {
		ops[i] = put(fmt.Sprint(i), 0, "new")
	}
	ops[70] = put("stale", stale, "lost")
	ops[300] = remove("stale", stale)
	ops[301] = remove("absent", current)
	want := map[int]error{
		70: persistence.ErrConflict, 300: persistence.ErrConflict, 301: persistence.ErrNotFound,
	}
	results := s.Apply(t.Context(), ops)
	for i, r := range results {
		require.ErrorIs(t, r.Err, want[i], "op %d", i)
		require.Equal(t, want[i] == nil, r.Version > 0, "op %d", i)
	}
	page, err := s.Scan(t.Context(), "thing", "", n+1)
	require.NoError(t, err)
	require.Len(t, page, n-3+1)
	requireRecord(t, s, record("stale", current, "newer"))
}

// Records of the largest size and with the longest keys make no transaction that is
// more than Consul takes.
func TestApply_LargestRecordsWithLongestKeys(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := strings.Repeat("\x00", persistence.MaxKeySize-len("thing")-3)
	want := map[string]int{}
	var ops []persistence.Op
	for i := range 203 {
		size := 4000
		if i%100 == 0 {
			size = persistence.MaxDataSize
		}
		ops = append(ops, put(id+fmt.Sprintf("%03d", i), 0, strings.Repeat("\xff", size)))
		want[ops[i].Record.Key.ID] = size
	}
	for i, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err, "op %d", i)
	}
	page, err := s.Scan(t.Context(), "thing", "", len(ops))
	require.NoError(t, err)
	got := map[string]int{}
	for _, r := range page {
		got[r.Key.ID] = bytes.Count(r.Data, []byte{0xff})
	}
	require.Equal(t, want, got)
}

// Whatever is done in whatever batches, Consul answers as memory does.
func TestApply_AnswersAsMemoryDoes(t *testing.T) {
	t.Parallel()
	consultest.Require(t)
	rapid.Check(t, func(r *rapid.T) {
		here, there := open(t), memory.New()
		defer here.Close()
		versions := map[string][2]int64{} // of the newest save of a key in both stores
		for range rapid.IntRange(1, 3).Draw(r, "batches") {
			var mine, theirs []persistence.Op
			for range rapid.IntRange(0, 90).Draw(r, "ops") {
				id := fmt.Sprint(rapid.IntRange(0, 80).Draw(r, "id"))
				v := versions[id]
				if rapid.IntRange(0, 5).Draw(r, "from nothing") == 0 {
					v = [2]int64{}
				}
				gone := rapid.IntRange(0, 3).Draw(r, "delete") == 0
				a, b := put(id, v[0], "data"), put(id, v[1], "data")
				a.Delete, b.Delete = gone, gone
				mine, theirs = append(mine, a), append(theirs, b)
			}
			got, want := here.Apply(t.Context(), mine), there.Apply(t.Context(), theirs)
			for i := range want {
				if want[i].Err == nil {
					require.NoError(r, got[i].Err, "op %d", i)
				}
				require.ErrorIs(r, got[i].Err, want[i].Err, "op %d", i)
				if want[i].Version > 0 {
					versions[mine[i].Record.Key.ID] = [2]int64{got[i].Version, want[i].Version}
				}
			}
		}
		requireSameRecords(r, t, here, there)
	})
}

func requireSameRecords(r *rapid.T, t *testing.T, here, there persistence.Store) {
	got, err := here.Scan(t.Context(), "thing", "", 100)
	require.NoError(r, err)
	want, err := there.Scan(t.Context(), "thing", "", 100)
	require.NoError(r, err)
	require.Len(r, got, len(want))
	for i := range want {
		require.Equal(r, want[i].Key, got[i].Key)
		require.Equal(r, want[i].Data, got[i].Data)
	}
}
