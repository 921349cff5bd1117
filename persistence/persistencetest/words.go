package persistencetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

const kind = "thing"

func key(id string) persistence.Key { return persistence.Key{Kind: kind, ID: id} }

func record(id string, version int64, data string) persistence.Record {
	return persistence.Record{Key: key(id), Version: version, Data: []byte(data)}
}

func put(id string, version int64, data string) persistence.Op {
	return persistence.Op{Record: record(id, version, data)}
}

func remove(id string, version int64) persistence.Op {
	return persistence.Op{Record: persistence.Record{Key: key(id), Version: version}, Delete: true}
}

// pattern returns n bytes of which no two pages are equal.
func pattern(n int, seed byte) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = seed + byte(i) + byte(i>>8)*7
	}
	return data
}

func save(t *testing.T, s persistence.Store, r persistence.Record) int64 {
	t.Helper()
	version, err := s.Save(t.Context(), r)
	require.NoError(t, err, "save %+q", r.Key)
	return version
}

func requireRecord(t *testing.T, s persistence.Store, want persistence.Record) {
	t.Helper()
	got, err := s.Load(t.Context(), want.Key)
	require.NoError(t, err, "load %+q", want.Key)
	require.Equal(t, want.Key, got.Key)
	require.Equal(t, want.Version, got.Version, "version of %+q", want.Key)
	// Not Equal on the bytes: it would print both, and nil and empty are the same.
	require.True(t, string(want.Data) == string(got.Data), "data of %+q, %d bytes, wanted %d", want.Key, len(got.Data), len(want.Data))
}

func requireAbsent(t *testing.T, s persistence.Store, k persistence.Key) {
	t.Helper()
	_, err := s.Load(t.Context(), k)
	require.ErrorIs(t, err, persistence.ErrNotFound, "load %+q", k)
}

func requireScan(t *testing.T, s persistence.Store, kind string, want []string) {
	t.Helper()
	page, err := s.Scan(t.Context(), kind, "", len(want)+10)
	require.NoError(t, err)
	require.Equal(t, want, idsOf(page))
}

func requireResult(t *testing.T, got persistence.Result, want error) {
	t.Helper()
	require.ErrorIs(t, got.Err, want)
	require.Zero(t, got.Version, "a refusal has no version")
}

// walk returns the IDs of all pages.
func walk(t *testing.T, s persistence.Store, kind string, limit int) (ids []string) {
	t.Helper()
	for after := ""; ; after = ids[len(ids)-1] {
		page, err := s.Scan(t.Context(), kind, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), limit)
		ids = append(ids, idsOf(page)...)
		if len(page) < limit {
			return ids
		}
	}
}

func idsOf(records []persistence.Record) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.Key.ID)
	}
	return ids
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }
