package persistence_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func TestCommitter_CloseDoesWhatIsQueuedAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	g := newGate()
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: g.holdWrites}), persistence.CommitterConfig{MaxBatch: 1})
	answers, loaded := make(chan saved, 3), make(chan persistence.Record, 1)
	for i := range 3 {
		c.Save(thing(strconv.Itoa(i), 0, "x"), saveInto(answers))
	}
	c.Load(thing("2", 0, "").Key, func(r persistence.Record, _ error) { loaded <- r })
	closed := make(chan struct{})
	go func() { c.Close(t.Context()); close(closed) }()
	for range 3 {
		<-g.calls
		g.release <- struct{}{}
	}
	<-closed
	require.Len(t, answers, 3, "all done before Close returns")
	for range 3 {
		require.NoError(t, (<-answers).err)
	}
	require.Equal(t, "x", string((<-loaded).Data))

	_, err := save(c, thing("late", 0, ""))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = loadOf(c, "0")
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	c.Close(t.Context())
}

// A broker that stops while its store hangs ends in its time, however much is queued,
// and everybody who waits is told.
func TestCommitter_CloseGivesUpWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ []faulty.Call) error { <-ctx.Done(); return ctx.Err() }
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: hang}),
		persistence.CommitterConfig{Loaders: 1, MaxBatch: 1, Timeout: 5 * time.Second})
	const each = 20
	saves, loads := make(chan saved, each), make(chan error, each)
	for i := range each {
		c.Save(thing(strconv.Itoa(i), 0, "x"), saveInto(saves))
		c.Load(thing("other", 0, "").Key, func(_ persistence.Record, err error) { loads <- err })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	began := time.Now()
	c.Close(ctx)
	require.Less(t, time.Since(began), each*5*time.Second/2, "without giving up it takes 100 s")
	require.Len(t, saves, each)
	require.Len(t, loads, each)
	for range each {
		require.ErrorIs(t, (<-saves).err, persistence.ErrUnavailable)
		require.ErrorIs(t, <-loads, persistence.ErrUnavailable)
	}
}

func TestCommitter_EveryDoneIsCalledOnceHoweverCloseAndOverflowMeet(t *testing.T) {
	t.Parallel()
	c := start(t, memory.New(), persistence.CommitterConfig{MaxQueue: 8, MaxBatch: 3, Loaders: 2})
	const callers, each = 8, 300
	counts := make([]atomic.Int32, callers*each)
	var calling, called sync.WaitGroup
	called.Add(callers * each)
	for caller := range callers {
		calling.Go(func() {
			for i := range each {
				n := caller*each + i
				once := func(err error) {
					if counts[n].Add(1) == 1 {
						called.Done()
					}
				}
				switch k := thing(strconv.Itoa(n%5), 0, "x"); i % 3 {
				case 0:
					c.Save(k, func(_ int64, err error) { once(err) })
				case 1:
					c.Load(k.Key, func(_ persistence.Record, err error) { once(err) })
				default:
					c.Delete(k.Key, int64(i), once)
				}
				if n == callers*each/2 {
					go c.Close(t.Context())
				}
			}
		})
	}
	calling.Wait()
	called.Wait()
	c.Close(t.Context())
	for n := range counts {
		require.EqualValues(t, 1, counts[n].Load(), "call %d", n)
	}
}
