package replicated_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/replicated"
)

// An empty broker leads two that were alone with records of their own: it takes the
// records of one, and the other is refused, however near to each other they come.
func TestReplicated_AnEmptyLeaderTakesTheRecordsOfOneFleetOnly(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"lineage", "alone"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.tune = func(_ string, cfg *replicated.Config) { cfg.Gather = time.Second }
			a := w.start("a", "")
			b, c := w.start("b", withRecord(t, kind, "of-b")), w.start("c", withRecord(t, kind, "of-c"))
			var came atomic.Int32
			both := make(chan struct{})
			w.pass(func(_, _, ask string) error { // nobody brings anything before both are there
				if ask == "digest" {
					<-both
				}
				return nil
			}, func(_, _, ask string) error {
				if ask == "attach" && came.Add(1) == 2 {
					close(both)
				}
				return nil
			})
			w.lead("a")
			w.ready(a)
			errs := map[string]error{"of-b": b.Ready(t.Context()), "of-c": c.Ready(t.Context())}
			refused := 0
			for id, err := range errs {
				_, found := a.Load(t.Context(), key(id))
				if err == nil {
					require.NoError(t, found)
					continue
				}
				refused++
				require.ErrorIs(t, err, replicated.ErrOtherFleet)
				require.ErrorIs(t, found, persistence.ErrNotFound)
			}
			require.Equal(t, 1, refused)
		})
	}
}

// withRecord is the folder of a broker that has a record, of a fleet or of its time alone.
func withRecord(t *testing.T, kind, id string) string {
	t.Helper()
	folder := t.TempDir()
	if kind == "lineage" {
		w := newWorld(t)
		s := w.start("x", folder)
		w.lead("x")
		w.ready(s)
		save(t, s, id, 0, "")
		w.kill("x")
		return folder
	}
	s, err := embedded.Open(folder)
	require.NoError(t, err)
	save(t, s, id, 0, "")
	require.NoError(t, s.Close())
	return folder
}

// Brokers of one fleet that come to an empty one are all taken, also while the first of
// them is still bringing what they have in common.
func TestReplicated_AnEmptyLeaderTakesAllOfOneFleet(t *testing.T) {
	t.Parallel()
	folders := map[string]string{"b": t.TempDir(), "c": t.TempDir()}
	w := newWorld(t)
	b, c := w.start("b", folders["b"]), w.start("c", folders["c"])
	w.lead("b")
	w.ready(b, c)
	for _, kind := range []string{"a", "z"} { // before and behind the record of the lineage
		_, err := b.Save(t.Context(), persistence.Record{Key: persistence.Key{Kind: kind, ID: "x"}})
		require.NoError(t, err)
	}
	w.kill("b")
	w.kill("c")
	again := newWorld(t)
	a, b, c := again.start("a", ""), again.start("b2", folders["b"]), again.start("c2", folders["c"])
	var first atomic.Bool
	there := make(chan struct{})
	again.pass(func(from, _, ask string) error {
		if from == "c2" && ask == "attach" && !first.Load() {
			return errCut // after the other one
		}
		if from == "b2" && ask == "digest" {
			<-there
		}
		return nil
	}, func(from, _, ask string) error {
		if from == "b2" && ask == "attach" {
			first.Store(true)
		}
		if from == "c2" && ask == "attach" {
			close(there)
		}
		return nil
	})
	again.lead("a")
	again.ready(a, b, c)
	for _, s := range []*replicated.Store{a, b, c} {
		_, err := s.Load(t.Context(), persistence.Key{Kind: "z", ID: "x"})
		require.NoError(t, err)
	}
}

// marks counts what a disk has of deleted records.
func marks(t *testing.T, d *disk) (n int) {
	t.Helper()
	require.NoError(t, d.Kept(t.Context(), func(op persistence.Op) {
		if op.Delete {
			n++
		}
	}))
	return n
}

// Every broker forgets marks of deletions in time. The clock is the test's.
func TestReplicated_MarksAreForgottenEverywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		disks := map[string]*disk{"a": newDisk(t), "b": newDisk(t)}
		w.on(disks, func(cfg *replicated.Config) { cfg.Lease = 5 * time.Minute })
		a, b := w.start("a", ""), w.start("b", "")
		w.lead("a")
		w.ready(a, b)
		for i := range 10 {
			id := fmt.Sprint(i)
			require.NoError(t, b.Delete(t.Context(), key(id), save(t, b, id, 0, "")))
		}
		require.Equal(t, 10, marks(t, disks["a"]))
		require.Equal(t, 10, marks(t, disks["b"]))
		<-time.After(25 * time.Hour)
		require.Zero(t, marks(t, disks["a"]))
		require.Zero(t, marks(t, disks["b"]), "a follower forgets them too")
		save(t, b, "new", 0, "")
	})
}
