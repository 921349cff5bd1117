package persistencetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

var concurrentCases = []contractCase{
	{"concurrent counters never lose an increment", countersLoseNothing},
	{"of many who create one record exactly one succeeds", oneCreator},
	{"closing waits for running calls", closeWaits},
}

// countersLoseNothing is fencing in the small: read, add one, write, and again
// from the start if somebody was faster.
func countersLoseNothing(t *testing.T, s persistence.Store) {
	const writers, rounds, counters = 6, 10, 2
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for range rounds {
				increment(t, s, fmt.Sprint("counter-", w%counters), w%2 == 0)
			}
		})
	}
	all.Wait()
	for c := range counters {
		r, err := s.Load(t.Context(), key(fmt.Sprint("counter-", c)))
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(writers/counters*rounds), string(r.Data))
	}
}

func increment(t *testing.T, s persistence.Store, id string, batched bool) {
	for t.Context().Err() == nil {
		r, err := s.Load(t.Context(), key(id))
		if err != nil && !errors.Is(err, persistence.ErrNotFound) {
			t.Errorf("load: %v", err)
			return
		}
		n, _ := strconv.Atoi(string(r.Data)) // absent counts as 0
		err = write(t, s, record(id, r.Version, strconv.Itoa(n+1)), batched)
		if err == nil {
			return
		}
		if !errors.Is(err, persistence.ErrConflict) {
			t.Errorf("save: %v", err)
			return
		}
	}
}

func write(t *testing.T, s persistence.Store, r persistence.Record, batched bool) error {
	if batched {
		return s.Apply(t.Context(), []persistence.Op{{Record: r}})[0].Err
	}
	_, err := s.Save(t.Context(), r)
	return err
}

func oneCreator(t *testing.T, s persistence.Store) {
	const creators = 8
	var all sync.WaitGroup
	errs := make([]error, creators)
	for i := range creators {
		all.Go(func() { errs[i] = write(t, s, record("a", 0, strconv.Itoa(i)), i%2 == 0) })
	}
	all.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			require.Equal(t, -1, winner, "two creators succeeded")
			winner = i
			continue
		}
		require.ErrorIs(t, err, persistence.ErrConflict)
	}
	r, err := s.Load(t.Context(), key("a"))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(winner), string(r.Data))
}

// closeWaits: every call beside Close either does its work or is unavailable.
func closeWaits(t *testing.T, s persistence.Store) {
	const callers = 8
	begun := make(chan struct{}, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			var version int64
			for {
				next, err := s.Save(t.Context(), record(fmt.Sprint(i), version, "x"))
				if version == 0 {
					begun <- struct{}{}
				}
				if err != nil {
					if !errors.Is(err, persistence.ErrUnavailable) {
						t.Errorf("save beside close: %v", err)
					}
					return
				}
				version = next
			}
		})
	}
	for range callers {
		<-begun
	}
	require.NoError(t, s.Close())
	all.Wait()
}
