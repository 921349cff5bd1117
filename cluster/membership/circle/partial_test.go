package circle_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership/circle"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/replicated"
)

// keeping is a broker of a circle with its copy of the records.
type keeping struct {
	*started
	store *replicated.Store
}

func (f *fleet) keep(t *testing.T, disk replicated.Disk) *keeping {
	t.Helper()
	k := &keeping{}
	var c atomic.Pointer[circle.Circle]
	cfg := f.config(t)
	var err error
	k.store, err = replicated.Open(t.Context(), replicated.Config{Disk: disk, Lease: cfg.Lease, Wait: time.Second, Gather: time.Second,
		Call: func(ctx context.Context, to string, body []byte) ([]byte, error) {
			if c := c.Load(); c != nil {
				return c.Call(ctx, to, body)
			}
			return nil, circle.ErrNoLeader
		},
		Permit: func() error {
			if c := c.Load(); c != nil {
				return c.Permit()
			}
			return circle.ErrNoLeader
		}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.store.Close()) })
	k.started = f.runWith(t, cfg, func(cfg *circle.Config) {
		tell := cfg.OnRole
		cfg.Store, cfg.Health = k.store.Serve, k.store.Health
		cfg.OnRole = func(r circle.Role) {
			k.store.SetRole(replicated.Role{Self: r.Self, Leader: r.Leader, Term: r.Term, Alive: r.Alive, Gone: r.Gone})
			tell(r)
		}
	})
	c.Store(k.Circle)
	return k
}

// The leader of a list of three is cut off while it writes: whatever it answered is at the
// other two, who go on.
func TestCircle_ALeaderThatIsCutOffAnswersForNobodyAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	all := []*keeping{f.keep(t, nil), f.keep(t, nil), f.keep(t, nil)}
	first := follow(t, all[0].started, all[1].started, all[2].started)
	var leader *keeping
	var others []*keeping
	for _, k := range all {
		require.NoError(t, k.store.Ready(t.Context()))
		if k.started == first {
			leader = k
		} else {
			others = append(others, k)
		}
	}
	var mu sync.Mutex
	var answered []string
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id := fmt.Sprint(n)
			if _, err := leader.store.Save(ctx, persistence.Record{Key: persistence.Key{Kind: "k", ID: id}}); err == nil {
				mu.Lock()
				answered = append(answered, id)
				mu.Unlock()
			}
		}
	})
	await(t, "writes", func() bool { mu.Lock(); defer mu.Unlock(); return len(answered) > 20 })
	f.network.change(func() { f.network.cut[leader.Address()] = true })
	follow(t, others[0].started, others[1].started)
	cancel()
	writing.Wait()
	t.Logf("%d writes were answered", len(answered))
	for _, k := range others {
		require.NoError(t, k.store.Ready(t.Context()))
		for _, id := range answered {
			await(t, "it to serve", func() bool {
				_, err := k.store.Load(t.Context(), persistence.Key{Kind: "k", ID: id})
				require.NotErrorIs(t, err, persistence.ErrNotFound, id)
				return err == nil
			})
		}
	}
}

// disk is a real one that something can happen to.
type disk struct {
	*embedded.Store
	trouble atomic.Pointer[func() error]
}

func (d *disk) Keep(ctx context.Context, changes []persistence.Op) error {
	if trouble := d.trouble.Load(); trouble != nil {
		if err := (*trouble)(); err != nil {
			return err
		}
	}
	return d.Store.Keep(ctx, changes)
}

// F17: the leader's disk is full, or hangs. Another one leads, writes go on, and the one
// with the bad disk has everything when that is over.
func TestCircle_ABadDiskOfTheLeaderStopsNobodyElse(t *testing.T) {
	t.Parallel()
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		goesOnWithout(t, func() error { return errors.New("no space left on device") }, func() {})
	})
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		held := make(chan struct{})
		mend := sync.OnceFunc(func() { close(held) })
		t.Cleanup(mend)
		goesOnWithout(t, func() error { <-held; return nil }, mend)
	})
}

func goesOnWithout(t *testing.T, trouble func() error, mend func()) {
	f := newFleet(t, 3)
	file, err := embedded.Open(t.TempDir())
	require.NoError(t, err)
	d := &disk{Store: file}
	sick := f.keep(t, d)
	require.Same(t, sick.started, follow(t, sick.started))
	others := []*keeping{f.keep(t, nil), f.keep(t, nil)}
	follow(t, sick.started, others[0].started, others[1].started)
	for _, k := range append(others, sick) {
		require.NoError(t, k.store.Ready(t.Context()))
	}
	key := persistence.Key{Kind: "k", ID: "x"}
	version, err := others[0].store.Save(t.Context(), persistence.Record{Key: key})
	require.NoError(t, err)
	d.trouble.Store(&trouble)
	for n := 0; n < 10; { // the first may have come to nothing, or to something
		r, err := others[0].store.Load(t.Context(), key)
		if err == nil {
			r.Data = fmt.Append(nil, n)
			r.Version, err = others[0].store.Save(t.Context(), r)
		}
		if err == nil {
			require.Greater(t, r.Version, version)
			version, n = r.Version, n+1
		}
	}
	require.NotEqual(t, sick.ID(), others[0].roles.last().Leader)
	d.trouble.Store(nil)
	mend()
	for _, k := range append(others, sick) {
		await(t, "it to have it", func() bool {
			r, err := k.store.Load(t.Context(), key)
			return err == nil && r.Version == version
		})
	}
}

// A leader of five that only one of the others reaches still is followed by nobody: the
// four that reach each other go on.
func TestCircle_AMinoritysLeaderHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5)
	var all []*started
	for range 5 {
		all = append(all, f.run(t))
	}
	leader := follow(t, all...)
	var others []*started
	for _, s := range all {
		if s != leader {
			others = append(others, s)
		}
	}
	between := others[0].Address()
	f.network.change(func() {
		f.network.parted = func(from, to string) bool {
			return (from == leader.Address() || to == leader.Address()) && from != between && to != between
		}
	})
	await(t, "the old one leads no more", func() bool { return leader.roles.last().Leader != leader.ID() })
	next := follow(t, others...)
	await(t, "permit", func() bool { return next.Permit() == nil })
	require.Error(t, leader.Permit())
	f.network.change(func() { f.network.parted = func(string, string) bool { return false } })
	require.Same(t, next, follow(t, all...))
}

// A leader whose disk keeps nothing leaves it to one whose disk does. F17
func TestCircle_ASickLeaderLeavesItToOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	var full atomic.Bool
	a := f.runWith(t, f.config(t), func(cfg *circle.Config) {
		cfg.Health = func() error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return nil
		}
	})
	require.Same(t, a, follow(t, a))
	full.Store(true)
	b := f.run(t)
	await(t, "it to leave it to the other one", func() bool {
		return a.roles.last().Leader == b.ID() && b.roles.last().Leader == b.ID()
	})
	full.Store(false)
	finish(b.Circle)
	require.Same(t, a, follow(t, a))
}

// rumours is a finder that names another address several times a second.
type rumours struct{ since time.Time }

func (r rumours) Candidates() ([]string, bool) {
	return []string{fmt.Sprintf("made-up-%d:1", time.Since(r.since)/(200*time.Millisecond))}, false
}
func (r rumours) Ready() <-chan struct{} { return always }

// Who announces ever new addresses keeps no broker from starting.
func TestCircle_AddressesThatAreMadeUpKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.runWith(t, f.config(t), func(cfg *circle.Config) {
		dial := cfg.Dial
		cfg.Finder = rumours{time.Now()}
		cfg.Dial = func(ctx context.Context, to string) (net.Conn, error) {
			if strings.HasPrefix(to, "made-up") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, to)
		}
	})
	require.Same(t, a, follow(t, a))
	await(t, "permit", func() bool { return a.Permit() == nil })
}
