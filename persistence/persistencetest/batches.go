package persistencetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

var batchCases = []contractCase{
	{"an empty batch has no results", emptyBatch},
	{"batch results are index-aligned and independent of each other", independentResults},
	{"several ops on one key take effect in order", severalOnOneKey},
	{"a batch of many records is written whole", largeBatch},
	{"a batch may carry records of the largest size", batchOfLargeRecords},
}

func emptyBatch(t *testing.T, s persistence.Store) {
	require.Empty(t, s.Apply(t.Context(), nil))
	require.Empty(t, s.Apply(t.Context(), []persistence.Op{}))
}

func independentResults(t *testing.T, s persistence.Store) {
	changed := save(t, s, record("changed", 0, "old"))
	deleted := save(t, s, record("deleted", 0, "old"))
	stale := save(t, s, record("stale", 0, "old"))
	stale = save(t, s, record("stale", stale, "newer"))

	results := s.Apply(t.Context(), []persistence.Op{
		put("stale", 0, "lost"),
		put("made", 0, "new"),
		put("large", 0, string(make([]byte, persistence.MaxDataSize+1))),
		put("changed", changed, "new"),
		remove("absent", 1),
		remove("deleted", deleted),
		remove("stale", stale+1),
		{Record: persistence.Record{Key: persistence.Key{Kind: "Not a kind", ID: "x"}}},
		put("made-too", 0, "new"),
	})
	require.Len(t, results, 9)
	requireResult(t, results[0], persistence.ErrConflict)
	requireResult(t, results[2], persistence.ErrTooLarge)
	requireResult(t, results[4], persistence.ErrNotFound)
	requireResult(t, results[6], persistence.ErrConflict)
	requireResult(t, results[7], persistence.ErrInvalidKey)

	for i, id := range map[int]string{1: "made", 3: "changed", 8: "made-too"} {
		require.NoError(t, results[i].Err)
		requireRecord(t, s, record(id, results[i].Version, "new"))
	}
	require.NoError(t, results[5].Err)
	requireAbsent(t, s, key("deleted"))
	requireRecord(t, s, record("stale", stale, "newer"))
}

func severalOnOneKey(t *testing.T, s persistence.Store) {
	results := s.Apply(t.Context(), []persistence.Op{put("a", 0, "first"), put("a", 0, "second"), remove("a", 0)})
	require.NoError(t, results[0].Err)
	requireResult(t, results[1], persistence.ErrConflict)
	requireResult(t, results[2], persistence.ErrConflict)
	version := results[0].Version
	requireRecord(t, s, record("a", version, "first"))

	results = s.Apply(t.Context(), []persistence.Op{
		put("b", 0, "between"),
		remove("a", version),
		remove("a", version),
		put("a", 0, "again"),
		put("a", version-1, "stale"),
	})
	require.NoError(t, results[0].Err)
	require.NoError(t, results[1].Err)
	requireResult(t, results[2], persistence.ErrNotFound)
	require.NoError(t, results[3].Err)
	requireResult(t, results[4], persistence.ErrConflict)
	requireRecord(t, s, record("a", results[3].Version, "again"))

	results = s.Apply(t.Context(), []persistence.Op{
		put("a", results[3].Version, "changed"),
		put("a", results[3].Version, "too late"),
	})
	require.NoError(t, results[0].Err)
	requireResult(t, results[1], persistence.ErrConflict)
	requireRecord(t, s, record("a", results[0].Version, "changed"))
}

func largeBatch(t *testing.T, s persistence.Store) {
	const n = 300
	ops := make([]persistence.Op, n)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("%04d", i), 0, fmt.Sprint("data of ", i))
	}
	for i, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err, "op %d", i)
		ops[i].Record.Version = r.Version
	}
	page, err := s.Scan(t.Context(), kind, "", n+1)
	require.NoError(t, err)
	require.Len(t, page, n)
	for i, op := range ops {
		require.Equal(t, op.Record, page[i])
		ops[i].Delete = true
	}
	for i, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err, "op %d", i)
	}
	requireScan(t, s, kind, nil)
}

func batchOfLargeRecords(t *testing.T, s persistence.Store) {
	ops := make([]persistence.Op, 6)
	for i := range ops {
		ops[i] = put(fmt.Sprint(i), 0, string(pattern(persistence.MaxDataSize, byte(i))))
	}
	for i, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err, "op %d", i)
		ops[i].Record.Version = r.Version
		requireRecord(t, s, ops[i].Record)
	}
}
