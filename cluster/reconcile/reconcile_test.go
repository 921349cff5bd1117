package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cluster/reconcile"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store, a roster that shows the data of records, and the grains that were woken.
type world struct {
	t      *testing.T
	store  persistence.Store
	down   atomic.Bool
	behind atomic.Bool
	drains atomic.Int64

	mu    sync.Mutex
	shown map[string]string
	woken []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, shown: map[string]string{}}
	w.store = faulty.New(memory.New(), faulty.Config{Decide: func(faulty.Call) faulty.Fault {
		if w.down.Load() {
			return faulty.Unavailable
		}
		return faulty.None
	}})
	return w
}

func (w *world) save(id, data string) {
	w.t.Helper()
	_, err := w.store.Save(w.t.Context(), persistence.Record{Key: persistence.Key{Kind: "thing", ID: id}, Data: []byte(data)})
	require.NoError(w.t, err)
}

func (w *world) show(id, data string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown[id] = data
}

func (w *world) shows(id string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, ok := w.shown[id]
	return data, ok
}

// start runs an auditor. Names that begin with "x" belong to another broker.
func (w *world) start(change func(*reconcile.Config)) *reconcile.Auditor {
	cfg := reconcile.Config{Store: w.store, Logger: slog.New(slog.DiscardHandler),
		Kinds: []reconcile.Kind{{Record: "thing", Grain: "grain",
			Shown: func() (ids []string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				for id := range w.shown {
					ids = append(ids, id)
				}
				return ids
			},
			Shows: func(id string) bool { _, ok := w.shows(id); return ok },
			Differs: func(r persistence.Record) bool {
				data, _ := w.shows(r.Key.ID)
				return data != string(r.Data)
			}}},
		Mine: func(kind, id string) bool { return kind == "grain" && !strings.HasPrefix(id, "x") },
		Behind: func() error {
			if w.behind.Load() {
				return errors.New("behind")
			}
			return nil
		},
		Tell: func(kind, id string, m *messages.Wake) {
			if kind == "grain" && m.GetCheck() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.woken = append(w.woken, id)
			}
		},
		Drain: func(context.Context) error { w.drains.Add(1); return nil },
		Delay: 2 * time.Millisecond, Again: time.Hour, Every: time.Hour, Pause: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	a := reconcile.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return a
}

func (w *world) awaitWoken(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	var got []string
	require.Eventually(w.t, func() bool {
		w.mu.Lock()
		got = slices.Sorted(slices.Values(w.woken))
		w.mu.Unlock()
		return slices.Equal(want, got)
	}, 20*time.Second, 2*time.Millisecond, "of %v", want)
}

func (w *world) mixed() {
	w.save("hidden", "a")
	w.save("same", "a")
	w.show("same", "a")
	w.save("changed", "new")
	w.show("changed", "old")
	w.show("missing", "a")
	w.save("x-hidden", "a")
	w.show("x-missing", "a")
}

// Exactly what differs is woken, and only what is ours.
func TestAuditor_WakesWhatDiffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mixed()
	w.start(nil).Look("test")
	w.awaitWoken("hidden", "changed", "missing")
}

// What was on its way to the store when its broker died is found by the second look, and
// what came about without any reason by the one that needs none.
func TestAuditor_LooksAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*reconcile.Config){
		"after a reason":   func(c *reconcile.Config) { c.Again = 30 * time.Millisecond },
		"without a reason": func(c *reconcile.Config) { c.Every = 30 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.save("first", "a")
			if a := w.start(change); name == "after a reason" {
				a.Look("test")
			}
			require.Eventually(t, func() bool { return w.drains.Load() > 0 }, 20*time.Second, time.Millisecond)
			w.show("first", "a")
			w.save("late", "a")
			require.Eventually(t, func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return slices.Contains(w.woken, "late")
			}, 20*time.Second, time.Millisecond)
		})
	}
}

// A store that is away is asked until it answers; a roster that is behind is waited for.
func TestAuditor_WaitsForTheStoreAndTheRoster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mixed()
	w.down.Store(true)
	w.behind.Store(true)
	w.start(nil).Look("test")
	require.Never(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.woken) > 0 }, 30*time.Millisecond, 5*time.Millisecond)
	w.behind.Store(false)
	require.Never(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.woken) > 0 }, 30*time.Millisecond, 5*time.Millisecond)
	w.down.Store(false)
	w.awaitWoken("hidden", "changed", "missing")
}

// Thousands are woken in parts, and the store has its time for each.
func TestAuditor_DoesNotPressTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for i := range 1500 {
		id := fmt.Sprintf("id-%05d", i)
		want = append(want, id)
		if i%2 == 0 {
			w.save(id, "a")
		} else {
			w.show(id, "a")
		}
	}
	w.start(nil).Look("test")
	w.awaitWoken(want...)
	require.GreaterOrEqual(t, w.drains.Load(), int64(1500/200))
}

// Reasons that follow each other closely do not put the look off.
func TestAuditor_LooksAlthoughItIsAskedAllTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mixed()
	a := w.start(func(c *reconcile.Config) { c.Delay = 50 * time.Millisecond })
	require.Eventually(t, func() bool {
		a.Look("test")
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.woken) > 0
	}, 20*time.Second, 2*time.Millisecond)
}
