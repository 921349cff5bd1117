package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
	"opensessionmanager/persistence/mirror"
	"opensessionmanager/persistence/persistencetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = persistence.Key{Kind: "key", ID: "root"}

func TestMirrorKeepsTheContract(t *testing.T) {
	t.Parallel()
	persistencetest.Run(t, func(testing.TB) persistence.Store {
		return mirror.New(memory.New(), mirror.Config{Kinds: []string{"thing", "key"}, Sentinel: root})
	})
}

// wipeable is a store whose records an operator deletes.
type wipeable struct {
	now atomic.Pointer[persistence.Store]
}

func (w *wipeable) wipe() {
	var empty persistence.Store = memory.New()
	w.now.Store(&empty)
}

func (w *wipeable) Load(ctx context.Context, k persistence.Key) (persistence.Record, error) {
	return (*w.now.Load()).Load(ctx, k)
}
func (w *wipeable) Save(ctx context.Context, r persistence.Record) (int64, error) {
	return (*w.now.Load()).Save(ctx, r)
}
func (w *wipeable) Delete(ctx context.Context, k persistence.Key, v int64) error {
	return (*w.now.Load()).Delete(ctx, k, v)
}
func (w *wipeable) Scan(ctx context.Context, kind, after string, n int) ([]persistence.Record, error) {
	return (*w.now.Load()).Scan(ctx, kind, after, n)
}
func (w *wipeable) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	return (*w.now.Load()).Apply(ctx, ops)
}
func (w *wipeable) Close() error { return nil }

// broker is one mirror that runs.
type broker struct {
	*mirror.Store
	wiped, back atomic.Int64
}

func newBroker(t *testing.T, inner persistence.Store, changes ...func(*mirror.Config)) *broker {
	b := &broker{}
	cfg := mirror.Config{Kinds: []string{"key", "client"}, Sentinel: root, Logger: slog.New(slog.DiscardHandler),
		Wiped: func() { b.wiped.Add(1) }, Back: func() { b.back.Add(1) },
		Pulse: 5 * time.Millisecond, Refresh: 10 * time.Millisecond, Settle: 50 * time.Millisecond}
	for _, change := range changes {
		change(&cfg)
	}
	b.Store = mirror.New(inner, cfg)
	return b
}

func (b *broker) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

func put(t *testing.T, s persistence.Store, kind, id, data string) int64 {
	t.Helper()
	key := persistence.Key{Kind: kind, ID: id}
	old, _ := s.Load(t.Context(), key)
	version, err := s.Save(t.Context(), persistence.Record{Key: key, Version: old.Version, Data: []byte(data)})
	require.NoError(t, err)
	return version
}

func holds(t *testing.T, s persistence.Store, kind, id, data string) error {
	r, err := s.Load(t.Context(), persistence.Key{Kind: kind, ID: id})
	if err == nil && string(r.Data) != data {
		err = fmt.Errorf("%s is %q", id, r.Data)
	}
	return err
}

func await(t *testing.T, what string, try func() error) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, try()) }, 20*time.Second, 2*time.Millisecond, what)
}

func newStore() *wipeable {
	w := &wipeable{}
	w.wipe()
	return w
}

// F20: what was deleted is there again, without anybody touching it, as often as that happens.
func TestMirror_WritesBackWhatWasDeleted(t *testing.T) {
	t.Parallel()
	store := newStore()
	b := newBroker(t, store)
	put(t, b, "key", "root", "secret")
	for i := range 600 {
		put(t, b, "client", fmt.Sprint(i), "hash")
	}
	b.run(t)
	for round := range 3 {
		store.wipe()
		await(t, "the sentinel", func() error { return holds(t, store, "key", "root", "secret") })
		for i := range 600 { // it comes last
			require.NoError(t, holds(t, store, "client", fmt.Sprint(i), "hash"))
		}
		await(t, "peace", func() error { return holds(t, b, "client", "1", "hash") })
		require.EqualValues(t, round+1, b.wiped.Load(), "said once")
		put(t, b, "client", "1", "hash")
	}
}

// Until all is back nobody is told that a record does not exist.
func TestMirror_DoesNotCallAbsentWhatWasDeleted(t *testing.T) {
	t.Parallel()
	store := newStore()
	b := newBroker(t, store)
	put(t, b, "key", "root", "secret")
	put(t, b, "client", "a", "hash")
	_, err := b.Load(t.Context(), persistence.Key{Kind: "client", ID: "nobody"})
	require.ErrorIs(t, err, persistence.ErrNotFound)
	store.wipe()
	for _, id := range []string{"a", "nobody"} {
		_, err = b.Load(t.Context(), persistence.Key{Kind: "client", ID: id})
		require.ErrorIs(t, err, persistence.ErrUnavailable)
		require.ErrorIs(t, err, mirror.ErrWiped)
	}
	_, err = b.Scan(t.Context(), "client", "", 10)
	require.ErrorIs(t, err, mirror.ErrWiped)
	_, err = b.Load(t.Context(), persistence.Key{Kind: "session", ID: "x"})
	require.ErrorIs(t, err, persistence.ErrNotFound, "other kinds pass through")
	b.run(t)
	await(t, "the client", func() error { return holds(t, b, "client", "a", "hash") })
	await(t, "an answer", func() error {
		if _, err := b.Load(t.Context(), persistence.Key{Kind: "client", ID: "nobody"}); !errors.Is(err, persistence.ErrNotFound) {
			return fmt.Errorf("it is %v", err)
		}
		return nil
	})
}

// A change is not undone by a broker that had not heard of it: also not by the one that
// made the record, a while ago, and is the first to notice the loss.
func TestMirror_TheNewestCopyWins(t *testing.T) {
	t.Parallel()
	for _, read := range []bool{true, false} {
		t.Run(fmt.Sprint("the older copy was read: ", read), func(t *testing.T) {
			t.Parallel()
			store := newStore()
			later := func(c *mirror.Config) { c.Settle = 3 * time.Second }
			a := newBroker(t, store, later)
			b := newBroker(t, store, later, func(c *mirror.Config) { c.Refresh = time.Minute }) // what it wrote stays young
			put(t, b, "key", "root", "secret")
			maker, reader := a, b
			if read {
				maker, reader = b, a
			}
			put(t, maker, "client", "x", "active")
			made := time.Now()
			require.NoError(t, holds(t, a, "key", "root", "secret"))
			require.NoError(t, holds(t, reader, "client", "x", "active"))
			await(t, "the copy to be old", func() error {
				if time.Since(made) < 30*time.Millisecond {
					return errors.New("it is young")
				}
				return nil
			})
			put(t, b, "client", "x", "inactive") // a has not read it again
			store.wipe()
			a.run(t)
			await(t, "a to notice", func() error {
				if a.wiped.Load() == 0 {
					return errors.New("not yet")
				}
				return nil
			})
			b.run(t)
			await(t, "b's copy", func() error { return holds(t, store, "client", "x", "inactive") })
			await(t, "a to agree", func() error { return holds(t, a, "client", "x", "inactive") })
			require.NoError(t, holds(t, store, "client", "x", "inactive"))
		})
	}
}

// What a broker deleted shortly before the loss does not stay, although one that had not
// heard of that writes it back; what somebody makes anew does.
func TestMirror_DeletesAgainWhatComesBack(t *testing.T) {
	t.Parallel()
	store := newStore()
	slow := func(c *mirror.Config) { c.Refresh = time.Minute } // a hears of nothing until then
	a, b := newBroker(t, store, slow), newBroker(t, store, slow)
	put(t, b, "key", "root", "secret")
	require.NoError(t, holds(t, a, "key", "root", "secret"))
	for _, id := range []string{"ghost", "again", "kept"} {
		version := put(t, b, "client", id, "old")
		require.NoError(t, holds(t, a, "client", id, "old"))
		if id != "kept" {
			require.NoError(t, b.Delete(t.Context(), persistence.Key{Kind: "client", ID: id}, version))
		}
	}
	store.wipe()
	a.run(t)
	await(t, "a to have written back what it knows", func() error { return holds(t, a, "client", "kept", "old") })
	await(t, "the sentinel", func() error { return holds(t, store, "key", "root", "secret") })
	require.NoError(t, holds(t, store, "client", "ghost", "old"), "it cannot know better")
	put(t, store, "client", "again", "new")
	b.run(t)
	await(t, "the deletion", func() error {
		if err := holds(t, store, "client", "ghost", "old"); !errors.Is(err, persistence.ErrNotFound) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	require.NoError(t, holds(t, store, "client", "kept", "old"))
	require.NoError(t, holds(t, store, "client", "again", "new"))
	await(t, "b to answer", func() error { return holds(t, b, "client", "kept", "old") })
	put(t, b, "client", "ghost", "old")
	await(t, "a to know it", func() error { return holds(t, a, "client", "ghost", "old") })
	require.False(t, b.Marks(persistence.Key{Kind: "client", ID: "ghost"}), "who makes it anew means it")
}

// What another broker deleted in good order stays deleted.
func TestMirror_ForgetsWhatOthersDeleted(t *testing.T) {
	t.Parallel()
	store := newStore()
	a, b := newBroker(t, store), newBroker(t, store)
	put(t, a, "key", "root", "secret")
	version := put(t, a, "client", "x", "active")
	b.run(t)
	put(t, a, "client", "y", "active")
	require.NoError(t, holds(t, b, "client", "x", "active"))
	require.NoError(t, a.Delete(t.Context(), persistence.Key{Kind: "client", ID: "x"}, version))
	_, err := b.Load(t.Context(), persistence.Key{Kind: "client", ID: "x"})
	require.ErrorIs(t, err, persistence.ErrNotFound)
	await(t, "b to have read", func() error {
		if !b.Remembers(persistence.Key{Kind: "client", ID: "y"}) {
			return errors.New("not yet")
		}
		return nil
	})
	store.wipe()
	await(t, "the sentinel", func() error { return holds(t, store, "key", "root", "secret") })
	require.NoError(t, holds(t, store, "client", "y", "active"), "it was only read by a walk")
	require.ErrorIs(t, holds(t, store, "client", "x", "active"), persistence.ErrNotFound)
}

// A store that takes writes only now and then gets everything in the end.
func TestMirror_WritesBackToAStoreThatFails(t *testing.T) {
	t.Parallel()
	store := newStore()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var failing atomic.Bool
	odds := faulty.Seeded(seed, faulty.Odds{Unavailable: .3, AnswerLost: .2, RequestLost: .2})
	b := newBroker(t, faulty.New(store, faulty.Config{Decide: func(c faulty.Call) faulty.Fault {
		if !failing.Load() {
			return faulty.None
		}
		return odds(c)
	}}))
	put(t, b, "key", "root", "secret")
	for i := range 50 {
		put(t, b, "client", fmt.Sprint(i), "hash")
	}
	b.run(t)
	failing.Store(true)
	store.wipe()
	await(t, "the sentinel", func() error { return holds(t, store, "key", "root", "secret") })
	for i := range 50 {
		require.NoError(t, holds(t, store, "client", fmt.Sprint(i), "hash"))
	}
	await(t, "word that it is back", func() error {
		if b.back.Load() == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
}
