package persistencetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

var scanCases = []contractCase{
	{"an empty kind scans to nothing", scanNothing},
	{"scans are ordered by the bytes of the ID", scanOrder},
	{"pages join without a gap or a repetition", scanPages},
	{"a scan begins after an ID that need not exist", scanAfter},
	{"a scan sees one kind only", scanOneKind},
	{"a scan shows versions that can be written with", scanVersions},
	{"scans do not skip while others write", scanWhileWriting},
	{"a walk asks for every record and hands out the wanted ones in order", walkWanted},
	{"a walk ends with the first error", walkEnds},
}

func walkWanted(t *testing.T, s persistence.Store) {
	require.NoError(t, persistence.Walk(t.Context(), s, kind, nil, func([]persistence.Record) error {
		return errors.New("there is nothing")
	}))
	n := 2*persistence.WalkPage + 7
	ops := make([]persistence.Op, n)
	var want, all []string
	for i := range ops {
		id := fmt.Sprintf("id-%05d", i)
		ops[i].Record = record(id, 0, id)
		if all = append(all, id); i%3 != 0 {
			want = append(want, id)
		}
	}
	for _, r := range s.Apply(t.Context(), ops) {
		require.NoError(t, r.Err)
	}
	var asked, got []string
	require.NoError(t, persistence.Walk(t.Context(), s, kind,
		func(id string) bool { asked = append(asked, id); return (len(asked)-1)%3 != 0 },
		func(page []persistence.Record) error {
			require.LessOrEqual(t, len(page), persistence.WalkPage)
			for _, r := range page {
				require.Equal(t, r.Key.ID, string(r.Data))
				require.Positive(t, r.Version)
			}
			got = append(got, idsOf(page)...)
			return nil
		}))
	require.Equal(t, all, asked)
	require.Equal(t, want, got)
}

func walkEnds(t *testing.T, s persistence.Store) {
	save(t, s, record("a", 0, "x"))
	stop := errors.New("stop")
	require.ErrorIs(t, persistence.Walk(t.Context(), s, kind, nil, func([]persistence.Record) error { return stop }), stop)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, persistence.Walk(ctx, s, kind, nil, func([]persistence.Record) error { return nil }), persistence.ErrUnavailable)
}

func scanNothing(t *testing.T, s persistence.Store) {
	requireScan(t, s, kind, nil)
	save(t, s, record("a", 0, "x"))
	for _, limit := range []int{0, -1} {
		page, err := s.Scan(t.Context(), kind, "", limit)
		require.NoError(t, err)
		require.Empty(t, page, "limit %d", limit)
	}
}

func scanOrder(t *testing.T, s persistence.Store) {
	ids := []string{"b", "a10", "B", "a9", "\u00e9", "a", "_", "-", "z", "a-1", "a_1"}
	for _, id := range ids {
		save(t, s, record(id, 0, id))
	}
	requireScan(t, s, kind, sorted(ids))
}

func scanPages(t *testing.T, s persistence.Store) {
	var want []string
	for i := range 23 {
		want = append(want, fmt.Sprintf("id-%02d", i))
		save(t, s, record(want[i], 0, want[i]))
	}
	for _, limit := range []int{1, 2, 5, 22, 23, 24, 1000} {
		require.Equal(t, want, walk(t, s, kind, limit), "pages of %d", limit)
	}
}

func scanAfter(t *testing.T, s persistence.Store) {
	for _, id := range []string{"b", "d", "f"} {
		save(t, s, record(id, 0, id))
	}
	for after, want := range map[string][]string{
		"":         {"b", "d", "f"},
		"a":        {"b", "d", "f"},
		"b":        {"d", "f"},
		"b\x00":    {"d", "f"},
		"c":        {"d", "f"},
		"e\u00e9":  {"f"},
		"f":        nil,
		"\uffff":   nil,
		"not/here": nil,
	} {
		page, err := s.Scan(t.Context(), kind, after, 10)
		require.NoError(t, err)
		require.Equal(t, want, idsOf(page), "after %q", after)
	}
}

func scanOneKind(t *testing.T, s persistence.Store) {
	for _, k := range []string{"session", "sessions", "session-x", "server", "a"} {
		_, err := s.Save(t.Context(), persistence.Record{Key: persistence.Key{Kind: k, ID: "of-" + k}})
		require.NoError(t, err)
	}
	requireScan(t, s, "session", []string{"of-session"})
	requireScan(t, s, "a", []string{"of-a"})
	requireScan(t, s, "sess", nil)
}

func scanVersions(t *testing.T, s persistence.Store) {
	first := save(t, s, record("a", 0, "one"))
	save(t, s, record("a", first, "two"))
	page, err := s.Scan(t.Context(), kind, "", 10)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "two", string(page[0].Data))
	page[0].Data = []byte("three")
	_, err = s.Save(t.Context(), page[0])
	require.NoError(t, err)
}

// scanWhileWriting walks in small pages while others insert, change and delete
// records between those that stay.
func scanWhileWriting(t *testing.T, s persistence.Store) {
	const stay = 40
	var want []string
	for i := range stay {
		want = append(want, fmt.Sprintf("%03d-stays", i))
		save(t, s, record(want[i], 0, "x"))
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() { disturb(t, s, w, stay, stop) })
	}
	defer writers.Wait()
	defer close(stop)
	for range 3 {
		var seen []string
		for _, id := range walk(t, s, kind, 7) {
			if len(id) == len(want[0]) {
				seen = append(seen, id)
			}
		}
		require.Equal(t, want, seen)
	}
}

func disturb(t *testing.T, s persistence.Store, writer, n int, stop <-chan struct{}) {
	for i := 0; ; i = (i + 7) % n {
		select {
		case <-stop:
			return
		default:
		}
		passing := record(fmt.Sprintf("%03d-passes-%d", i, writer), 0, "y")
		version, err := s.Save(t.Context(), passing)
		if err == nil {
			err = s.Delete(t.Context(), passing.Key, version)
		}
		if err != nil {
			t.Errorf("write beside a scan: %v", err)
			return
		}
	}
}
