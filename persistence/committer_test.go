package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func thing(id string, version int64, data string) persistence.Record {
	return persistence.Record{Key: persistence.Key{Kind: "thing", ID: id}, Version: version, Data: []byte(data)}
}

// gate is a faulty.Config.Delay that announces each call and holds it until told.
type gate struct {
	calls   chan []faulty.Call
	release chan struct{}
}

func newGate() *gate {
	return &gate{calls: make(chan []faulty.Call), release: make(chan struct{})}
}

func (g *gate) hold(ctx context.Context, calls []faulty.Call) error {
	g.calls <- calls
	select {
	case <-g.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) holdWrites(ctx context.Context, calls []faulty.Call) error {
	if calls[0].Method == faulty.Load {
		return nil
	}
	return g.hold(ctx, calls)
}

func idsOf(calls []faulty.Call) (ids []string) {
	for _, c := range calls {
		ids = append(ids, c.Key.ID)
	}
	return ids
}

func start(t testing.TB, store persistence.Store, cfg persistence.CommitterConfig) *persistence.Committer {
	c := persistence.NewCommitter(store, cfg)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

type saved struct {
	version int64
	err     error
}

func saveInto(answers chan saved) func(int64, error) {
	return func(version int64, err error) { answers <- saved{version, err} }
}

func save(c *persistence.Committer, r persistence.Record) (int64, error) {
	answer := make(chan saved, 1)
	c.Save(r, saveInto(answer))
	a := <-answer
	return a.version, a.err
}

func loadOf(c *persistence.Committer, id string) (persistence.Record, error) {
	answer := make(chan error, 1)
	var found persistence.Record
	c.Load(thing(id, 0, "").Key, func(r persistence.Record, err error) { found = r; answer <- err })
	err := <-answer
	return found, err
}

func TestCommitter_DoesWhatAStoreDoes(t *testing.T) {
	t.Parallel()
	c := start(t, memory.New(), persistence.CommitterConfig{})
	first, err := save(c, thing("a", 0, "one"))
	require.NoError(t, err)
	_, err = save(c, thing("a", 0, "two"))
	require.ErrorIs(t, err, persistence.ErrConflict)
	found, err := loadOf(c, "a")
	require.NoError(t, err)
	require.Equal(t, thing("a", first, "one"), found)

	deleted := make(chan error, 2)
	c.Delete(found.Key, first+1, func(err error) { deleted <- err })
	c.Delete(found.Key, first, func(err error) { deleted <- err })
	require.ErrorIs(t, <-deleted, persistence.ErrConflict)
	require.NoError(t, <-deleted)
	_, err = loadOf(c, "a")
	require.ErrorIs(t, err, persistence.ErrNotFound)
}

func TestCommitter_WhatIsQueuedDuringAWriteBecomesOneBatchInOrder(t *testing.T) {
	t.Parallel()
	g := newGate()
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: g.hold}), persistence.CommitterConfig{MaxBatch: 4})
	answers := make(chan saved, 7)
	queue := func(ids ...string) {
		for _, id := range ids {
			c.Save(thing(id, 0, ""), saveInto(answers))
		}
	}
	queue("first")
	require.Equal(t, []string{"first"}, idsOf(<-g.calls), "a lone write does not wait for company")
	queue("a", "b", "c", "d", "e", "f")
	g.release <- struct{}{}
	require.Equal(t, []string{"a", "b", "c", "d"}, idsOf(<-g.calls))
	g.release <- struct{}{}
	require.Equal(t, []string{"e", "f"}, idsOf(<-g.calls))
	g.release <- struct{}{}
	for range 7 {
		require.NoError(t, (<-answers).err)
	}
}

func TestCommitter_LargeRecordsMakeSmallBatches(t *testing.T) {
	t.Parallel()
	g := newGate()
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: g.hold}), persistence.CommitterConfig{})
	large := string(make([]byte, persistence.MaxDataSize))
	answers := make(chan saved, 41)
	c.Save(thing("first", 0, ""), saveInto(answers))
	<-g.calls
	for i := range 40 {
		c.Save(thing(strconv.Itoa(i), 0, large), saveInto(answers))
	}
	for _, want := range []int{16, 16, 8} { // of 256 KiB, in batches of at most 4 MiB
		g.release <- struct{}{}
		require.Len(t, <-g.calls, want)
	}
	g.release <- struct{}{}
	for range 41 {
		require.NoError(t, (<-answers).err)
	}
}

func TestCommitter_ALoadSeesTheWritesQueuedBeforeItAndOthersDoNotWait(t *testing.T) {
	t.Parallel()
	g := newGate()
	inner := memory.New()
	_, err := inner.Save(t.Context(), thing("other", 0, "there"))
	require.NoError(t, err)
	c := start(t, faulty.New(inner, faulty.Config{Delay: g.holdWrites}), persistence.CommitterConfig{})

	order := make(chan string, 4)
	c.Save(thing("busy", 0, ""), func(int64, error) { order <- "busy" })
	<-g.calls
	c.Save(thing("a", 0, "new"), func(_ int64, err error) { order <- fmt.Sprint("saved ", err) })
	c.Load(thing("a", 0, "").Key, func(r persistence.Record, err error) { order <- fmt.Sprint(string(r.Data), " ", err) })
	found, err := loadOf(c, "other")
	require.NoError(t, err, "while the writer is held")
	require.Equal(t, "there", string(found.Data))
	_, loads := c.Queued()
	require.Equal(t, 1, loads)

	g.release <- struct{}{}
	<-g.calls
	g.release <- struct{}{}
	require.Equal(t, "busy", <-order)
	require.Equal(t, "saved <nil>", <-order)
	require.Equal(t, "new <nil>", <-order)
}

// F18: a disk that hangs is answered with refusals, not with memory or waiting.
func TestCommitter_AFullQueueIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate()
	inner := memory.New()
	c := start(t, faulty.New(inner, faulty.Config{Delay: g.holdWrites}),
		persistence.CommitterConfig{MaxQueue: 3, MaxQueueBytes: 1}) // becomes MaxDataSize
	answers, refused := make(chan saved, 4), make(chan saved, 4)
	c.Save(thing("held", 0, ""), saveInto(answers))
	<-g.calls
	c.Save(thing("large", 0, string(make([]byte, persistence.MaxDataSize))), saveInto(answers))
	c.Save(thing("one byte too many", 0, "x"), saveInto(refused))
	require.ErrorIs(t, (<-refused).err, persistence.ErrUnavailable)
	c.Save(thing("third", 0, ""), saveInto(answers))
	c.Save(thing("fourth", 0, ""), saveInto(refused))
	require.ErrorIs(t, (<-refused).err, persistence.ErrUnavailable)

	loaded := make(chan error, 4)
	for range 4 {
		c.Load(thing("third", 0, "").Key, func(_ persistence.Record, err error) { loaded <- err })
	}
	require.ErrorIs(t, <-loaded, persistence.ErrUnavailable, "the fourth; the others wait for the write")
	g.release <- struct{}{}
	<-g.calls
	g.release <- struct{}{}
	for range 3 {
		require.NoError(t, (<-answers).err)
		require.NoError(t, <-loaded)
	}
	page, err := inner.Scan(t.Context(), "thing", "", 10)
	require.NoError(t, err)
	require.Len(t, page, 3, "what was refused was not written")
}

func TestCommitter_RefusesWhatNoStoreCouldKeep(t *testing.T) {
	t.Parallel()
	c := start(t, memory.New(), persistence.CommitterConfig{})
	_, err := save(c, thing("a", 0, string(make([]byte, persistence.MaxDataSize+1))))
	require.ErrorIs(t, err, persistence.ErrTooLarge)
	_, err = save(c, thing("", 0, ""))
	require.ErrorIs(t, err, persistence.ErrInvalidKey)
}

// F25: a panic, ours or the store's, stays with the call that met it.
func TestCommitter_APanicHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	broken := func(c faulty.Call) faulty.Fault {
		if strings.HasPrefix(c.Key.ID, "broken") {
			panic("store is broken")
		}
		return faulty.None
	}
	c := start(t, faulty.New(memory.New(), faulty.Config{Decide: broken}), persistence.CommitterConfig{Loaders: 1})
	c.Save(thing("a", 0, ""), func(int64, error) { panic("done is broken") })
	_, err := save(c, thing("b", 0, ""))
	require.NoError(t, err)
	_, err = save(c, thing("broken", 0, ""))
	require.ErrorIs(t, err, persistence.ErrUncertain, "nobody knows how far the store came")
	_, err = loadOf(c, "broken")
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	_, err = loadOf(c, "a")
	require.NoError(t, err)
}

// F17: the broker shows that it cannot write, and that it can again.
func TestCommitter_HealthFollowsTheStore(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	decide := func(faulty.Call) faulty.Fault {
		if full.Load() {
			return faulty.Unavailable
		}
		return faulty.None
	}
	c := start(t, faulty.New(memory.New(), faulty.Config{Decide: decide}), persistence.CommitterConfig{})
	_, err := save(c, thing("a", 0, ""))
	require.NoError(t, err)
	require.NoError(t, c.Health())
	full.Store(true)
	_, err = save(c, thing("b", 0, ""))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, c.Health(), persistence.ErrUnavailable)
	full.Store(false)
	_, err = save(c, thing("a", 0, ""))
	require.ErrorIs(t, err, persistence.ErrConflict)
	require.NoError(t, c.Health(), "a conflict is an answer of a healthy store")
}

func TestCommitter_AStoreThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ []faulty.Call) error { <-ctx.Done(); return ctx.Err() }
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: hang}), persistence.CommitterConfig{Timeout: time.Millisecond})
	_, err := save(c, thing("a", 0, ""))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = loadOf(c, "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Actors that forget and reload after a doubt lose no increment that was
// acknowledged, however the store below the committer misbehaves.
func TestCommitter_CountersSurviveALyingStore(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	inner := memory.New()
	c := start(t, faulty.New(inner, faulty.Config{
		Decide: faulty.Seeded(seed, faulty.Odds{Unavailable: 0.1, AnswerLost: 0.1, RequestLost: 0.1}),
	}), persistence.CommitterConfig{MaxQueue: 16, MaxBatch: 4})
	const actors, target = 20, 100
	var all sync.WaitGroup
	for a := range actors {
		all.Go(func() { countTo(t, c, strconv.Itoa(a), target) })
	}
	all.Wait()
	page, err := inner.Scan(t.Context(), "thing", "", actors+1)
	require.NoError(t, err)
	require.Len(t, page, actors)
	for _, r := range page {
		require.Equal(t, strconv.Itoa(target), string(r.Data), r.Key.ID)
	}
}

func countTo(t *testing.T, c *persistence.Committer, id string, target int) {
	acknowledged := 0
	for acknowledged < target {
		r, err := loadOf(c, id)
		if errors.Is(err, persistence.ErrUnavailable) {
			continue
		}
		n, _ := strconv.Atoi(string(r.Data)) // absent counts as 0
		if n < acknowledged {
			t.Errorf("%s: %d was acknowledged, %d is stored", id, acknowledged, n)
			return
		}
		for acknowledged = n; err == nil || errors.Is(err, persistence.ErrNotFound); acknowledged++ {
			if acknowledged == target {
				return
			}
			r = thing(id, r.Version, strconv.Itoa(acknowledged+1))
			if r.Version, err = save(c, r); err != nil {
				break
			}
		}
	}
}
