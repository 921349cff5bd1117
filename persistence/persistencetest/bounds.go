package persistencetest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

var boundCases = []contractCase{
	{"a record of the largest size is kept", largestRecord},
	{"a larger record is refused", tooLarge},
	{"a key of the largest size is kept", largestKey},
	{"a key that cannot exist is refused, and not found", impossibleKeys},
	{"a call that is over before it begins does nothing", expiredContext},
	{"a closed store is unavailable", closedStore},
}

func largestRecord(t *testing.T, s persistence.Store) {
	r := record("a", 0, string(pattern(persistence.MaxDataSize, 1)))
	r.Version = save(t, s, r)
	requireRecord(t, s, r)
	r.Data = pattern(persistence.MaxDataSize, 2)
	r.Version = save(t, s, r)
	requireRecord(t, s, r)
}

func tooLarge(t *testing.T, s persistence.Store) {
	large := string(make([]byte, persistence.MaxDataSize+1))
	_, err := s.Save(t.Context(), record("a", 0, large))
	require.ErrorIs(t, err, persistence.ErrTooLarge)
	requireAbsent(t, s, key("a"))

	version := save(t, s, record("a", 0, "small"))
	_, err = s.Save(t.Context(), record("a", version, large))
	require.ErrorIs(t, err, persistence.ErrTooLarge)
	requireRecord(t, s, record("a", version, "small"))
}

func largestKey(t *testing.T, s persistence.Store) {
	room := persistence.MaxKeySize - len(kind)
	ids := []string{
		strings.Repeat("k", room),
		strings.Repeat("/", room),
		strings.Repeat("\x00", room),
		strings.Repeat("\U0001f600", room/4),
	}
	for _, id := range ids {
		r := record(id, 0, "data")
		r.Version = save(t, s, r)
		requireRecord(t, s, r)
	}
	require.Equal(t, sorted(ids), walk(t, s, kind, 1))
}

func impossibleKeys(t *testing.T, s persistence.Store) {
	for _, c := range []struct {
		key  persistence.Key
		want error
	}{
		{key(strings.Repeat("k", persistence.MaxKeySize-len(kind)+1)), persistence.ErrTooLarge},
		{key(""), persistence.ErrInvalidKey},
		{key("not utf-8: \xff"), persistence.ErrInvalidKey},
		{persistence.Key{Kind: "", ID: "a"}, persistence.ErrInvalidKey},
		{persistence.Key{Kind: "Upper", ID: "a"}, persistence.ErrInvalidKey},
		{persistence.Key{Kind: "a/b", ID: "a"}, persistence.ErrInvalidKey},
		{persistence.Key{Kind: "a\x00", ID: "a"}, persistence.ErrInvalidKey},
		{persistence.Key{Kind: strings.Repeat("k", persistence.MaxKindSize+1), ID: "a"}, persistence.ErrInvalidKey},
	} {
		_, err := s.Save(t.Context(), persistence.Record{Key: c.key})
		require.ErrorIs(t, err, c.want, "save %+q", c.key)
		require.ErrorIs(t, s.Delete(t.Context(), c.key, 1), persistence.ErrNotFound, "delete %+q", c.key)
		requireAbsent(t, s, c.key)
		page, err := s.Scan(t.Context(), c.key.Kind, c.key.ID, 10)
		require.NoError(t, err, "scan %+q", c.key)
		require.Empty(t, page)
	}
}

func expiredContext(t *testing.T, s persistence.Store) {
	version := save(t, s, record("a", 0, "kept"))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Save(over, record("a", version, "lost"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, s.Delete(over, key("a"), version), persistence.ErrUnavailable)
	for _, r := range s.Apply(over, []persistence.Op{put("b", 0, "lost"), remove("a", version)}) {
		require.ErrorIs(t, r.Err, persistence.ErrUnavailable)
	}
	_, err = s.Load(over, key("absent"))
	require.ErrorIs(t, err, persistence.ErrUnavailable, "must not look like absence")
	_, err = s.Scan(over, kind, "", 10)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	requireRecord(t, s, record("a", version, "kept"))
	requireScan(t, s, kind, []string{"a"})
}

func closedStore(t *testing.T, s persistence.Store) {
	version := save(t, s, record("a", 0, "x"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing again does nothing")

	_, err := s.Load(t.Context(), key("a"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = s.Save(t.Context(), record("a", version, "y"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, s.Delete(t.Context(), key("a"), version), persistence.ErrUnavailable)
	_, err = s.Scan(t.Context(), kind, "", 10)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	for _, r := range s.Apply(t.Context(), []persistence.Op{put("a", version, "y"), remove("a", version)}) {
		require.ErrorIs(t, r.Err, persistence.ErrUnavailable)
	}
}
