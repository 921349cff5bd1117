package persistencetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

var recordCases = []contractCase{
	{"absent is not found", absentIsNotFound},
	{"what was saved is loaded", savedIsLoaded},
	{"empty data is a record like any other", emptyData},
	{"creating twice conflicts", createTwice},
	{"changing what is absent conflicts", changeAbsent},
	{"versions rise strictly", versionsRise},
	{"the slower of two writers is refused", slowerWriter},
	{"a refused write changes nothing", refusedWriteChangesNothing},
	{"deletes are versioned", deletesAreVersioned},
	{"a deleted record can be made again", recreate},
	{"data is copied in and out", dataIsCopied},
	{"equal IDs of two kinds are two records", kindsAreSeparate},
	{"odd IDs are kept apart", oddIDs},
}

func absentIsNotFound(t *testing.T, s persistence.Store) {
	_, err := s.Load(t.Context(), key("absent"))
	require.ErrorIs(t, err, persistence.ErrNotFound)
	require.ErrorIs(t, s.Delete(t.Context(), key("absent"), 1), persistence.ErrNotFound)
	require.ErrorIs(t, s.Delete(t.Context(), key("absent"), 0), persistence.ErrNotFound)
}

func savedIsLoaded(t *testing.T, s persistence.Store) {
	version := save(t, s, record("a", 0, "one"))
	require.Positive(t, version)
	requireRecord(t, s, record("a", version, "one"))

	next := save(t, s, record("a", version, "two"))
	requireRecord(t, s, record("a", next, "two"))
}

func emptyData(t *testing.T, s persistence.Store) {
	version := save(t, s, record("a", 0, ""))
	requireRecord(t, s, record("a", version, ""))
}

func createTwice(t *testing.T, s persistence.Store) {
	save(t, s, record("a", 0, "one"))
	_, err := s.Save(t.Context(), record("a", 0, "two"))
	require.ErrorIs(t, err, persistence.ErrConflict)
}

func changeAbsent(t *testing.T, s persistence.Store) {
	for _, version := range []int64{1, 7, -1} {
		_, err := s.Save(t.Context(), record("a", version, "x"))
		require.ErrorIs(t, err, persistence.ErrConflict, "version %d", version)
	}
	requireAbsent(t, s, key("a"))
}

func versionsRise(t *testing.T, s persistence.Store) {
	var version int64
	for range 5 {
		next := save(t, s, record("a", version, "same data"))
		require.Greater(t, next, version)
		version = next
	}
}

func slowerWriter(t *testing.T, s persistence.Store) {
	read := save(t, s, record("a", 0, "one"))
	version := save(t, s, record("a", read, "faster"))
	_, err := s.Save(t.Context(), record("a", read, "slower"))
	require.ErrorIs(t, err, persistence.ErrConflict)
	requireRecord(t, s, record("a", version, "faster"))
}

func refusedWriteChangesNothing(t *testing.T, s persistence.Store) {
	version := save(t, s, record("a", 0, "kept"))
	for _, wrong := range []int64{0, version + 1, version - 1, -1} {
		_, err := s.Save(t.Context(), record("a", wrong, "lost"))
		require.ErrorIs(t, err, persistence.ErrConflict, "version %d", wrong)
		require.ErrorIs(t, s.Delete(t.Context(), key("a"), wrong), persistence.ErrConflict, "version %d", wrong)
	}
	requireRecord(t, s, record("a", version, "kept"))
}

func deletesAreVersioned(t *testing.T, s persistence.Store) {
	read := save(t, s, record("a", 0, "one"))
	version := save(t, s, record("a", read, "two"))
	require.ErrorIs(t, s.Delete(t.Context(), key("a"), read), persistence.ErrConflict)
	requireRecord(t, s, record("a", version, "two"))

	require.NoError(t, s.Delete(t.Context(), key("a"), version))
	requireAbsent(t, s, key("a"))
	require.ErrorIs(t, s.Delete(t.Context(), key("a"), version), persistence.ErrNotFound)
}

func recreate(t *testing.T, s persistence.Store) {
	first := save(t, s, record("a", 0, "one"))
	require.NoError(t, s.Delete(t.Context(), key("a"), first))
	second := save(t, s, record("a", 0, "again"))
	requireRecord(t, s, record("a", second, "again"))
}

func dataIsCopied(t *testing.T, s persistence.Store) {
	mine := record("a", 0, "original")
	version := save(t, s, mine)
	copy(mine.Data, "scribble")
	requireRecord(t, s, record("a", version, "original"))

	loaded, err := s.Load(t.Context(), mine.Key)
	require.NoError(t, err)
	copy(loaded.Data, "scribble")
	requireRecord(t, s, record("a", version, "original"))

	page, err := s.Scan(t.Context(), kind, "", 1)
	require.NoError(t, err)
	copy(page[0].Data, "scribble")
	requireRecord(t, s, record("a", version, "original"))

	batched := []persistence.Op{{Record: record("b", 0, "original")}}
	result := s.Apply(t.Context(), batched)
	require.NoError(t, result[0].Err)
	copy(batched[0].Record.Data, "scribble")
	requireRecord(t, s, record("b", result[0].Version, "original"))
}

func kindsAreSeparate(t *testing.T, s persistence.Store) {
	one := persistence.Record{Key: persistence.Key{Kind: "one", ID: "a"}, Data: []byte("1")}
	two := persistence.Record{Key: persistence.Key{Kind: "two", ID: "a"}, Data: []byte("2")}
	one.Version, two.Version = save(t, s, one), save(t, s, two)
	requireRecord(t, s, one)
	requireRecord(t, s, two)
	require.NoError(t, s.Delete(t.Context(), one.Key, one.Version))
	requireAbsent(t, s, one.Key)
	requireRecord(t, s, two)
}

// strange holds IDs that a careless encoding confuses with each other, in byte order.
var strange = []string{
	"\x00", "\x00\x00", " ", " a", "%", "%00", "%2F", ".", "..", "../a", "/", "//", "A", "A/", "a", "a\x00", "a\x00b",
	"a ", "a%2Fb", "a/", "a/b", "a:b", "a\\b", "aa", "ab", "a\u00e9", "ae\u0301", "b", "d\u0131", "\u00df", "\u00e9",
	"\ufffd", "\U0001f600", "\U0001f600\U0001f600", "\U0010ffff",
}

func oddIDs(t *testing.T, s persistence.Store) {
	versions := make(map[string]int64, len(strange))
	for _, id := range strange {
		versions[id] = save(t, s, record(id, 0, "data of "+id))
	}
	for _, id := range strange {
		requireRecord(t, s, record(id, versions[id], "data of "+id))
	}
	requireScan(t, s, kind, sorted(strange))
	for _, id := range strange[1:] {
		require.NoError(t, s.Delete(t.Context(), key(id), versions[id]), "%q", id)
	}
	requireScan(t, s, kind, strange[:1])
}
