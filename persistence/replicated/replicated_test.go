package replicated_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/persistencetest"
	"opensessionmanager/persistence/replicated"
)

func TestReplicated_KeepsTheContract(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		for _, disk := range []bool{false, true} {
			t.Run(fmt.Sprintf("brokers=%d,disk=%v", n, disk), func(t *testing.T) {
				persistencetest.Run(t, func(t testing.TB) persistence.Store { return open(t, n, disk) })
			})
		}
	}
}

func TestReplicated_ServesNothingBeforeItIsToldWhoLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start("a", "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Load(ctx, key("x"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
}

func TestReplicated_AJoinerGetsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start("a", "")
	w.lead("a")
	w.ready(a)
	var ops []persistence.Op
	for i := range 5000 {
		ops = append(ops, persistence.Op{Record: persistence.Record{Key: key(fmt.Sprintf("%05d", i)), Data: make([]byte, i%3000)}})
	}
	for _, r := range a.Apply(t.Context(), ops) {
		require.NoError(t, r.Err)
	}
	b := w.start("b", "")
	w.tell()
	w.ready(b)
	n := 0
	for after := ""; ; {
		page, err := b.Scan(t.Context(), "k", after, 700)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		n, after = n+len(page), page[len(page)-1].Key.ID
	}
	require.Equal(t, 5000, n)
	version := save(t, b, "00007", mustLoad(t, b, "00007").Version, "through b")
	require.Equal(t, version, mustLoad(t, a, "00007").Version)
}

func mustLoad(t testing.TB, s persistence.Store, id string) persistence.Record {
	t.Helper()
	r, err := s.Load(t.Context(), key(id))
	require.NoError(t, err)
	return r
}

// F1: what was answered is at the others when the leader dies, and a write that it took
// with it is done once by the next one.
func TestReplicated_GoesOnAfterTheDeathOfTheLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.start("a", ""), w.start("b", ""), w.start("c", "")
	w.lead("a")
	w.ready(a, b, c)
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	answered := map[string]int64{}
	stop, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i, s := range []*replicated.Store{b, c} {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			for n := 0; stop.Err() == nil; n++ {
				id := fmt.Sprintf("%d-%d", i, random.IntN(50))
				mu.Lock()
				base := answered[id]
				mu.Unlock()
				version, err := s.Save(context.Background(), persistence.Record{Key: key(id), Version: base, Data: []byte(fmt.Sprint(n))})
				if err != nil {
					t.Errorf("save of %s: %v", id, err)
					return
				}
				mu.Lock()
				answered[id] = version
				mu.Unlock()
			}
		})
	}
	await(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(answered) > 60 })
	w.kill("a")
	w.lead("b")
	mu.Lock()
	clear := len(answered)
	mu.Unlock()
	await(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(answered) > min(clear+5, 95) })
	cancel()
	writers.Wait()
	for id, version := range answered {
		require.Equal(t, version, mustLoad(t, b, id).Version, id)
		require.Equal(t, version, mustLoad(t, c, id).Version, id)
	}
}

func await(t testing.TB, try func() bool) {
	t.Helper()
	require.Eventually(t, try, 30*time.Second, 5*time.Millisecond)
}

// A follower that is cut off reads nothing any more by the time a write is answered
// without it, and catches up afterwards.
func TestReplicated_WhoIsCutOffDoesNotReadWhatIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	version := save(t, a, "x", 0, "old")
	require.Equal(t, "old", value(t, b, "x"))
	w.setCut("b", true)
	save(t, a, "x", version, "new") // waits for the end of b's lease
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := b.Load(ctx, key("x"))
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	w.setCut("b", false)
	w.ready(b)
	require.Equal(t, "new", value(t, b, "x"))
}

// All brokers restart; each has what it had, and together they have what any had.
func TestReplicated_EverythingComesBackFromTheDisks(t *testing.T) {
	t.Parallel()
	folders := map[string]string{"a": t.TempDir(), "b": t.TempDir(), "c": t.TempDir()}
	w := newWorld(t)
	a, b, c := w.start("a", folders["a"]), w.start("b", folders["b"]), w.start("c", folders["c"])
	w.lead("a")
	w.ready(a, b, c)
	old := save(t, a, "changed", 0, "old")
	gone := save(t, b, "deleted", 0, "x")
	w.kill("a") // and then the others go on
	w.lead("b")
	w.ready(b, c)
	save(t, b, "changed", old, "new")
	require.NoError(t, c.Delete(t.Context(), key("deleted"), gone))
	save(t, c, "made", 0, "y")
	w.kill("b")
	w.kill("c")

	again := newWorld(t)
	a = again.start("a2", folders["a"]) // the one that knows least is first
	again.lead("a2")
	again.ready(a)
	require.Equal(t, "old", value(t, a, "changed"))
	b, c = again.start("b2", folders["b"]), again.start("c2", folders["c"])
	again.tell()
	again.ready(b, c)
	for _, s := range []*replicated.Store{a, b, c} {
		require.Equal(t, "new", value(t, s, "changed"))
		require.Equal(t, "y", value(t, s, "made"))
		_, err := s.Load(t.Context(), key("deleted"))
		require.ErrorIs(t, err, persistence.ErrNotFound)
	}
}

// Two sides that did not know of each other both accepted; of one key the later change
// stays, and nothing else is lost.
func TestReplicated_TwoSidesBecomeOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	base := save(t, a, "both", 0, "before")
	w.setCut("b", true)
	b.SetRole(replicated.Role{Self: "b", Leader: "b", Term: 7})
	w.ready(b)
	save(t, a, "both", base, "of a")
	save(t, b, "both", base, "of b, later")
	save(t, a, "a", 0, "1")
	save(t, b, "b", 0, "2")
	w.setCut("b", false)
	w.mu.Lock()
	w.term = 8
	w.mu.Unlock()
	w.lead("a")
	w.ready(a, b)
	for _, s := range []*replicated.Store{a, b} {
		require.Equal(t, "of b, later", value(t, s, "both"))
		require.Equal(t, "1", value(t, s, "a"))
		require.Equal(t, "2", value(t, s, "b"))
	}
}

func TestReplicated_RefusesTheRecordsOfAnotherFleet(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	other := newWorld(t)
	s := other.start("x", folder)
	other.lead("x")
	other.ready(s)
	other.kill("x")
	w := newWorld(t)
	a := w.start("a", "")
	w.lead("a")
	w.ready(a)
	x := w.start("x2", folder)
	w.tell()
	require.ErrorIs(t, x.Ready(t.Context()), replicated.ErrOtherFleet)
	w.ready(a)
	save(t, a, "y", 0, "the others go on")
}

// The one who may not act does not.
func TestReplicated_WritesNothingWithoutPermit(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("too few")
	s, err := replicated.Open(t.Context(), replicated.Config{Permit: func() error { return refused }, Wait: 50 * time.Millisecond,
		Call: func(context.Context, string, []byte) ([]byte, error) { return nil, errCut }})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	s.SetRole(replicated.Role{Self: "a", Leader: "a", Term: 1})
	_, err = s.Save(t.Context(), persistence.Record{Key: key("x")})
	require.ErrorIs(t, err, persistence.ErrUnavailable)
	require.ErrorIs(t, err, refused)
}

func FuzzServe(f *testing.F) {
	f.Add([]byte(`{"ask":"apply","term":1,"changes":[{"k":"k","i":"x","v":5,"d":"eA=="}]}`))
	f.Add([]byte(`{"ask":"digest","term":1,"after":{"k":"k","i":"x"},"changes":[{"k":"k","i":"y","v":5}],"more":true}`))
	f.Add([]byte(`{"ask":"attach","term":1}`))
	f.Add([]byte(`{"ask":"copy","term":1,"changes":[{"k":"k","i":"x","v":5,"g":true}]}`))
	s, err := replicated.Open(f.Context(), replicated.Config{Permit: func() error { return nil }, Wait: time.Second, Lease: time.Millisecond,
		Call: func(context.Context, string, []byte) ([]byte, error) { return nil, errCut }})
	require.NoError(f, err)
	f.Cleanup(func() { _ = s.Close() })
	s.SetRole(replicated.Role{Self: "a", Leader: "a", Term: 1})
	require.NoError(f, s.Ready(f.Context()))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = s.Serve(t.Context(), "b", body)
	})
}
