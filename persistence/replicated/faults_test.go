package replicated_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/replicated"
)

// disk is a real one that can be full, or hang.
type disk struct {
	*embedded.Store
	mu   sync.Mutex
	full error
	held chan struct{} // closed when it goes on
	in   atomic.Int64  // how often something hangs in it
}

func newDisk(t testing.TB) *disk {
	d, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return &disk{Store: d}
}

func (d *disk) Keep(ctx context.Context, changes []persistence.Op) error {
	d.mu.Lock()
	full, held := d.full, d.held
	d.mu.Unlock()
	if held != nil {
		d.in.Add(1)
		<-held
	}
	if full != nil {
		return full
	}
	return d.Store.Keep(ctx, changes)
}

func (d *disk) fill(full error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// hang has it answer nothing until the function that it returns is called.
func (d *disk) hang(t testing.TB) func() {
	held := make(chan struct{})
	d.mu.Lock()
	d.held = held
	d.mu.Unlock()
	goOn := sync.OnceFunc(func() {
		d.mu.Lock()
		d.held = nil
		d.mu.Unlock()
		close(held)
	})
	t.Cleanup(goOn)
	return goOn
}

var errFull = errors.New("no space left on device")

// on gives the stores of a world their disks.
func (w *world) on(disks map[string]*disk, more func(*replicated.Config)) {
	w.tune = func(id string, cfg *replicated.Config) {
		if d := disks[id]; d != nil {
			cfg.Disk = d
		}
		more(cfg)
	}
}

// agree waits until a record can be changed at one store and is seen at all.
func agree(t *testing.T, id string, at *replicated.Store, all ...*replicated.Store) {
	t.Helper()
	await(t, func() bool {
		r, err := at.Load(t.Context(), key(id))
		if err == nil {
			r.Data = []byte("at last")
			_, err = at.Save(t.Context(), r)
		}
		return err == nil
	})
	for _, s := range all {
		require.Equal(t, "at last", value(t, s, id))
	}
}

// A change that the followers kept and the leader's disk did not is no obstacle for good:
// once there is room again the record can be changed, and is the same everywhere.
func TestReplicated_AChangeThatTheLeadersDiskRefusedIsJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDisk(t)
	w.on(map[string]*disk{"a": d}, func(cfg *replicated.Config) { cfg.Wait = time.Second })
	a, b, c := w.start("a", ""), w.start("b", ""), w.start("c", "")
	w.lead("a")
	w.ready(a, b, c)
	version := save(t, b, "x", 0, "old")
	d.fill(errFull)
	_, err := b.Save(t.Context(), persistence.Record{Key: key("x"), Version: version, Data: []byte("new")})
	require.ErrorIs(t, err, persistence.ErrUncertain)
	d.fill(nil)
	agree(t, "x", b, a, b, c)
}

// What a follower's disk finishes after it has another leader is compared with that one's.
func TestReplicated_AChangeThatIsKeptLateIsJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDisk(t)
	w.on(map[string]*disk{"b": d}, func(cfg *replicated.Config) { cfg.Wait, cfg.Gather = time.Second, time.Second })
	a, b, c := w.start("a", ""), w.start("b", ""), w.start("c", "")
	w.lead("a")
	w.ready(a, b, c)
	version := save(t, a, "x", 0, "old")
	goOn := d.hang(t)
	w.pass(func(from, to, ask string) error { // c does not get it
		if from == "a" && to == "c" {
			return errCut
		}
		return nil
	}, w.after)
	saved := make(chan error, 1)
	go func() {
		_, err := a.Save(context.Background(), persistence.Record{Key: key("x"), Version: version, Data: []byte("new")})
		saved <- err
	}()
	await(t, func() bool { return d.in.Load() > 0 })
	w.setCut("a", true)
	w.lead("c")
	w.ready(c)
	goOn()
	w.ready(b)
	agree(t, "x", b, b, c)
	<-saved // it may lead alone: nobody told it
}

// A follower whose disk hangs goes on beating; the others go on without it.
func TestReplicated_AFollowerWhoseDiskHangsIsGoneOnWithout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDisk(t)
	w.on(map[string]*disk{"b": d}, func(cfg *replicated.Config) { cfg.Wait = 15 * time.Second })
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	goOn := d.hang(t)
	saved := make(chan error, 1)
	go func() {
		_, err := a.Save(context.Background(), persistence.Record{Key: key("x"), Data: []byte("new")})
		saved <- err
	}()
	select {
	case err := <-saved:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "the write waits for a disk that hangs")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Load(ctx, key("x"))
	require.ErrorIs(t, err, persistence.ErrUnavailable, "it does not read what is over")
	goOn()
	w.ready(b)
	require.Equal(t, "new", value(t, b, "x"))
}

// While the leader's disk hangs every write ends in time, and none of them is done later
// whose caller was told that it was not.
func TestReplicated_WritesEndThoughTheLeadersDiskHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDisk(t)
	w.on(map[string]*disk{"a": d}, func(cfg *replicated.Config) { cfg.Wait = time.Second })
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	goOn := d.hang(t)
	errs := make(chan error, 2)
	try := func(s *replicated.Store, id string) {
		_, err := s.Save(context.Background(), persistence.Record{Key: key(id)})
		errs <- err
	}
	go try(a, "first")
	await(t, func() bool { return d.in.Load() > 0 })
	go try(b, "second")
	for range 2 {
		select {
		case err := <-errs:
			require.Error(t, err)
		case <-time.After(30 * time.Second):
			require.Fail(t, "a write waits for a disk that hangs")
		}
	}
	goOn()
	save(t, a, "third", 0, "")
	_, err := a.Load(t.Context(), key("second"))
	require.ErrorIs(t, err, persistence.ErrNotFound)
}

// A follower whose disk is full costs no write a lease.
func TestReplicated_AFullDiskOfAFollowerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDisk(t)
	w.on(map[string]*disk{"b": d}, func(cfg *replicated.Config) { cfg.Lease = time.Minute })
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	d.fill(errFull)
	saved := make(chan error, 1)
	go func() {
		var errs []error
		for _, id := range []string{"x", "y", "z"} {
			_, err := a.Save(context.Background(), persistence.Record{Key: key(id)})
			errs = append(errs, err)
		}
		saved <- errors.Join(errs...)
	}()
	select {
	case err := <-saved:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "a write waits for the end of a lease")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Load(ctx, key("x"))
	require.ErrorIs(t, err, persistence.ErrUnavailable, "it does not read what is over")
}

// Who may not act any more when the followers are gone does not answer for itself alone.
func TestReplicated_AnswersNothingThatItWroteWithoutPermit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var parted atomic.Bool
	w.tune = func(_ string, cfg *replicated.Config) {
		cfg.Wait = 2 * time.Second
		cfg.Permit = func() error {
			if parted.Load() {
				return errCut
			}
			return nil
		}
	}
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	w.pass(func(from, _, ask string) error {
		if from == "b" || ask == "copy" {
			parted.Store(ask == "copy" || parted.Load())
			return errCut
		}
		return nil
	}, w.after)
	_, err := a.Save(t.Context(), persistence.Record{Key: key("x")})
	require.ErrorIs(t, err, persistence.ErrUncertain)
}

// A write whose answer was lost may have been done before somebody else's change, so what
// stands against its repetition says nothing.
func TestReplicated_AConflictOfARepeatedWriteIsUncertain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start("a", ""), w.start("b", "")
	w.lead("a")
	w.ready(a, b)
	version := save(t, a, "x", 0, "old")
	var once sync.Once
	w.pass(w.before, func(from, _, ask string) (err error) {
		if from == "b" && ask == "apply" {
			once.Do(func() {
				r := mustLoad(t, a, "x")
				save(t, a, "x", r.Version, "of another")
				err = errCut
			})
		}
		return err
	})
	_, err := b.Save(t.Context(), persistence.Record{Key: key("x"), Version: version, Data: []byte("mine")})
	require.ErrorIs(t, err, persistence.ErrOvertaken)
	require.ErrorIs(t, err, persistence.ErrUncertain)
	require.NotErrorIs(t, err, persistence.ErrConflict)
}
