package embedded_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
)

func change(id string, version int64, data string) persistence.Op {
	return persistence.Op{Record: persistence.Record{Key: persistence.Key{Kind: "k", ID: id}, Version: version, Data: []byte(data)}}
}

func mark(id string, version int64) persistence.Op {
	op := change(id, version, "")
	op.Delete, op.Record.Data = true, nil
	return op
}

func kept(t *testing.T, s *embedded.Store) map[string]persistence.Op {
	t.Helper()
	all := map[string]persistence.Op{}
	require.NoError(t, s.Kept(t.Context(), func(op persistence.Op) { all[op.Record.Key.ID] = op }))
	return all
}

func TestKeep_IsThereAfterARestartWithItsVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := embedded.Open(dir)
	require.NoError(t, err)
	require.NoError(t, s.Keep(t.Context(), []persistence.Op{change("a", 70, "1"), change("b\x00/é", 71, ""), mark("c", 72)}))
	require.NoError(t, s.Keep(t.Context(), []persistence.Op{mark("a", 80), change("c", 81, "back")}))
	require.NoError(t, s.Close())
	s, err = embedded.Open(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	all := kept(t, s)
	require.Len(t, all, 3)
	require.Equal(t, mark("a", 80).Record.Version, all["a"].Record.Version)
	require.True(t, all["a"].Delete)
	require.False(t, all["c"].Delete)
	require.Equal(t, "back", string(all["c"].Record.Data))
	require.Equal(t, int64(71), all["b\x00/é"].Record.Version)
}

// A fleet's broker that is alone one day goes on with its copy, in versions that rise.
func TestKeep_LeavesAStoreOfOneBroker(t *testing.T) {
	t.Parallel()
	s, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Keep(t.Context(), []persistence.Op{change("a", 1<<50, "1"), mark("b", 1<<51)}))
	version, err := s.Save(t.Context(), persistence.Record{Key: persistence.Key{Kind: "k", ID: "a"}, Version: 1 << 50, Data: []byte("2")})
	require.NoError(t, err)
	require.Greater(t, version, int64(1<<51))
}

func TestDrop_LeavesNoMark(t *testing.T) {
	t.Parallel()
	s, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Keep(t.Context(), []persistence.Op{change("a", 1, "1"), mark("b", 2), change("c", 3, "")}))
	require.NoError(t, s.Drop(t.Context(), []persistence.Key{{Kind: "k", ID: "a"}, {Kind: "k", ID: "b"}, {Kind: "k", ID: "x"}}))
	require.Len(t, kept(t, s), 1)
}
