package replicated_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/replicated"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is stores and the wires between them. Who leads is decided by the test.
type world struct {
	testing.TB

	mu     sync.Mutex
	stores map[string]*replicated.Store
	cut    map[string]bool
	leader string
	term   uint64
	gone   []string

	// what a test does to the next stores, and to what passes between them
	tune   func(id string, cfg *replicated.Config)
	before func(from, to, ask string) error // an error: it does not arrive
	after  func(from, to, ask string) error // an error: the answer does not
}

func newWorld(t testing.TB) *world {
	pass := func(string, string, string) error { return nil }
	return &world{TB: t, stores: map[string]*replicated.Store{}, cut: map[string]bool{}, tune: func(string, *replicated.Config) {},
		before: pass, after: pass}
}

var errCut = errors.New("the wire is cut")

// start opens a store; folder "" has none on disk.
func (w *world) start(id, folder string) *replicated.Store {
	w.Helper()
	cfg := replicated.Config{Lease: 300 * time.Millisecond, Wait: 20 * time.Second, Logger: slog.New(slog.NewTextHandler(w.Output(), nil)).With("broker", id)}
	if folder != "" {
		disk, err := embedded.Open(folder)
		require.NoError(w, err)
		cfg.Disk = disk
	}
	cfg.Permit = func() error { return nil }
	cfg.Call = func(ctx context.Context, to string, body []byte) ([]byte, error) {
		w.mu.Lock()
		target, cut := w.stores[to], w.cut[to] || w.cut[id]
		before, after := w.before, w.after
		w.mu.Unlock()
		if target == nil || cut {
			return nil, errCut
		}
		ask := what(body)
		if err := before(id, to, ask); err != nil {
			return nil, err
		}
		answer, err := target.Serve(ctx, id, body)
		return answer, errors.Join(err, after(id, to, ask))
	}
	w.tune(id, &cfg)
	s, err := replicated.Open(w.Context(), cfg)
	require.NoError(w, err)
	w.mu.Lock()
	w.stores[id] = s
	w.mu.Unlock()
	w.Cleanup(func() { _ = s.Close() })
	return s
}

// what a request asks for.
func what(body []byte) string {
	var r struct{ Ask string }
	_ = json.Unmarshal(body, &r) // it is a store's own
	return r.Ask
}

// pass sets what happens to requests from now on.
func (w *world) pass(before, after func(from, to, ask string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

// lead has one broker lead those that are there.
func (w *world) lead(leader string) {
	w.mu.Lock()
	w.leader = leader
	w.term++
	w.mu.Unlock()
	w.tell()
}

// tell gives everybody that is reachable its role.
func (w *world) tell() {
	w.mu.Lock()
	stores, roles := []*replicated.Store{}, []replicated.Role{}
	for id, s := range w.stores {
		if w.cut[id] {
			continue
		}
		r := replicated.Role{Self: id, Leader: w.leader, Term: w.term, Gone: w.gone}
		for other := range w.stores {
			if other != id && !w.cut[other] {
				r.Alive = append(r.Alive, other)
			}
		}
		stores, roles = append(stores, s), append(roles, r)
	}
	w.mu.Unlock()
	for i, s := range stores {
		s.SetRole(roles[i])
	}
}

func (w *world) setCut(id string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[id] = cut
}

// kill ends a store as a crash does: nobody hears of it any more.
func (w *world) kill(id string) {
	w.mu.Lock()
	s := w.stores[id]
	delete(w.stores, id)
	w.gone = append(w.gone, id)
	w.mu.Unlock()
	_ = s.Close()
}

func (w *world) ready(stores ...*replicated.Store) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	for _, s := range stores {
		require.NoError(w, s.Ready(ctx))
	}
}

func key(id string) persistence.Key { return persistence.Key{Kind: "k", ID: id} }

func save(t testing.TB, s persistence.Store, id string, version int64, data string) int64 {
	t.Helper()
	version, err := s.Save(t.Context(), persistence.Record{Key: key(id), Version: version, Data: []byte(data)})
	require.NoError(t, err)
	return version
}

func value(t testing.TB, s persistence.Store, id string) string {
	t.Helper()
	r, err := s.Load(t.Context(), key(id))
	require.NoError(t, err)
	return string(r.Data)
}

// any answers each call by another one of several stores.
type any3 struct {
	stores []*replicated.Store
	next   atomic.Uint64
}

func (a *any3) one() *replicated.Store { return a.stores[a.next.Add(1)%uint64(len(a.stores))] }

func (a *any3) Load(ctx context.Context, k persistence.Key) (persistence.Record, error) {
	return a.one().Load(ctx, k)
}

func (a *any3) Save(ctx context.Context, r persistence.Record) (int64, error) {
	return a.one().Save(ctx, r)
}

func (a *any3) Delete(ctx context.Context, k persistence.Key, v int64) error {
	return a.one().Delete(ctx, k, v)
}

func (a *any3) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	return a.one().Scan(ctx, kind, after, limit)
}

func (a *any3) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	return a.one().Apply(ctx, ops)
}

func (a *any3) Close() error {
	var errs []error
	var closing sync.WaitGroup
	for _, s := range a.stores {
		closing.Go(func() { _ = s.Close() })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// open makes n brokers that share a store, each call of which any of them answers.
func open(t testing.TB, n int, disk bool) persistence.Store {
	w := newWorld(t)
	all := &any3{}
	for i := range n {
		folder := ""
		if disk {
			folder = t.TempDir()
		}
		all.stores = append(all.stores, w.start(fmt.Sprintf("b%d", i), folder))
	}
	w.lead("b0")
	w.ready(all.stores...)
	return all
}
