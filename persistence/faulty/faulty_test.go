package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
	"opensessionmanager/persistence/persistencetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func thing(id string, version int64, data string) persistence.Record {
	return persistence.Record{Key: persistence.Key{Kind: "thing", ID: id}, Version: version, Data: []byte(data)}
}

func always(fault faulty.Fault) faulty.Config {
	return faulty.Config{Decide: func(faulty.Call) faulty.Fault { return fault }}
}

func TestFaulty_WithoutFaultsKeepsTheContract(t *testing.T) {
	t.Parallel()
	persistencetest.Run(t, func(testing.TB) persistence.Store {
		return faulty.New(memory.New(), faulty.Config{
			Decide: faulty.Seeded(1, faulty.Odds{}),
			Delay:  func(context.Context, []faulty.Call) error { return nil },
		})
	})
}

func TestFaulty_UnavailableDoesNothing(t *testing.T) {
	t.Parallel()
	inner := memory.New()
	version, err := inner.Save(t.Context(), thing("a", 0, "old"))
	require.NoError(t, err)
	s := faulty.New(inner, always(faulty.Unavailable))

	_, err = s.Save(t.Context(), thing("a", version, "new"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, s.Delete(t.Context(), thing("a", 0, "").Key, version), persistence.ErrUnavailable)
	_, err = s.Load(t.Context(), thing("a", 0, "").Key)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = s.Scan(t.Context(), "thing", "", 1)
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	requireData(t, inner, "a", "old")
}

func TestFaulty_ALieMayHaveWrittenOrNot(t *testing.T) {
	t.Parallel()
	for fault, want := range map[faulty.Fault]string{faulty.AnswerLost: "new", faulty.RequestLost: "old"} {
		inner := memory.New()
		version, err := inner.Save(t.Context(), thing("a", 0, "old"))
		require.NoError(t, err)
		_, err = faulty.New(inner, always(fault)).Save(t.Context(), thing("a", version, "new"))
		require.ErrorIs(t, err, persistence.ErrUncertain)
		requireData(t, inner, "a", want)
	}
}

func TestFaulty_OpsOfABatchFailOneByOne(t *testing.T) {
	t.Parallel()
	plan := map[string]faulty.Fault{"b": faulty.Unavailable, "c": faulty.AnswerLost, "d": faulty.RequestLost}
	inner := memory.New()
	s := faulty.New(inner, faulty.Config{Decide: func(c faulty.Call) faulty.Fault { return plan[c.Key.ID] }})
	var ops []persistence.Op
	for _, id := range []string{"a", "b", "c", "d", "e", "a"} {
		ops = append(ops, persistence.Op{Record: thing(id, 0, id)})
	}
	results := s.Apply(t.Context(), ops)
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, persistence.ErrUnavailable)
	require.ErrorIs(t, results[2].Err, persistence.ErrUncertain)
	require.ErrorIs(t, results[3].Err, persistence.ErrUncertain)
	require.NoError(t, results[4].Err)
	require.ErrorIs(t, results[5].Err, persistence.ErrConflict)
	page, err := inner.Scan(t.Context(), "thing", "", 10)
	require.NoError(t, err)
	require.Len(t, page, 3, "a, c and e")
}

func TestFaulty_DelayHoldsACallAndItsErrorEndsIt(t *testing.T) {
	t.Parallel()
	held, release := make(chan []faulty.Call), make(chan error)
	s := faulty.New(memory.New(), faulty.Config{Delay: func(_ context.Context, calls []faulty.Call) error {
		held <- calls
		return <-release
	}})
	saved := make(chan error)
	save := func() { _, err := s.Save(context.WithoutCancel(t.Context()), thing("a", 0, "x")); saved <- err }
	for nth, outcome := range []error{context.DeadlineExceeded, nil} {
		go save()
		require.Equal(t, []faulty.Call{{Method: faulty.Save, Key: thing("a", 0, "").Key, Nth: nth}}, <-held)
		release <- outcome
		if outcome == nil {
			require.NoError(t, <-saved)
			continue
		}
		err := <-saved
		require.ErrorIs(t, err, persistence.ErrUnavailable)
		require.ErrorIs(t, err, outcome)
	}
}

// The fault of a call depends on seed, key and count, not on what runs beside it.
func TestFaulty_TheSameSeedIsTheSameHistory(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	odds := faulty.Odds{Unavailable: 0.3, AnswerLost: 0.2, RequestLost: 0.2}
	require.Equal(t, history(t, seed, odds, false), history(t, seed, odds, true))
	require.NotEqual(t, history(t, seed, odds, false), history(t, seed+1, odds, false))
}

func history(t *testing.T, seed uint64, odds faulty.Odds, concurrent bool) [8]string {
	s := faulty.New(memory.New(), faulty.Config{Decide: faulty.Seeded(seed, odds)})
	var outcomes [8]string
	var all sync.WaitGroup
	for k := range outcomes {
		all.Go(func() {
			for range 20 {
				_, err := s.Save(t.Context(), thing(strconv.Itoa(k), 0, ""))
				outcomes[k] += fmt.Sprintln(err)
			}
		})
		if !concurrent {
			all.Wait()
		}
	}
	all.Wait()
	return outcomes
}

// Who follows the rules (reload after a doubt) loses no acknowledged increment and
// counts no doubtful one twice, however the store misbehaves.
func TestFaulty_AClientThatReloadsLosesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	inner := memory.New()
	s := faulty.New(inner, faulty.Config{
		Decide: faulty.Seeded(seed, faulty.Odds{Unavailable: 0.2, AnswerLost: 0.2, RequestLost: 0.2}),
	})
	for want := 1; want <= 200; want++ {
		reach(t, s, want)
	}
	requireData(t, inner, "a", "200")
}

func reach(t *testing.T, s persistence.Store, want int) {
	for {
		r, err := s.Load(t.Context(), thing("a", 0, "").Key)
		if errors.Is(err, persistence.ErrUnavailable) {
			continue
		}
		have, _ := strconv.Atoi(string(r.Data)) // absent counts as 0
		if have == want {
			return // a doubtful write did happen
		}
		require.Equal(t, want-1, have)
		if _, err := s.Save(t.Context(), thing("a", r.Version, strconv.Itoa(want))); err == nil {
			return
		}
	}
}

func requireData(t *testing.T, s persistence.Store, id, want string) {
	t.Helper()
	r, err := s.Load(t.Context(), thing(id, 0, "").Key)
	require.NoError(t, err)
	require.Equal(t, want, string(r.Data))
}
