//go:build fleet

package membership_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

const patience = 30 * time.Second

func await(t *testing.T, what string, try func() bool) {
	t.Helper()
	require.Eventually(t, try, patience, 10*time.Millisecond, "%s", what)
}

func alive(context.Context, membership.Member) error { return nil }

func member(id string) membership.Member {
	return membership.Member{ID: id, Address: id + ".test:47200"}
}

// open makes a source that leaves when the test is over.
func open(t *testing.T, m *membership.Memory, o membership.Options) *membership.Keeper {
	t.Helper()
	k := membership.New(m.Connect(), o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = k.Leave(ctx)
	})
	return k
}

func start(t *testing.T, m *membership.Memory, o membership.Options, id string) *membership.Keeper {
	t.Helper()
	k := open(t, m, o)
	require.NoError(t, join(t, k, id))
	return k
}

func join(t *testing.T, k *membership.Keeper, id string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return k.Join(ctx, member(id), alive)
}

func epochOf(t *testing.T, m *membership.Memory) uint64 {
	t.Helper()
	var d struct{ Epoch uint64 }
	require.NoError(t, json.Unmarshal(m.Document(), &d))
	return d.Epoch
}

func sameMembers(a, b *membership.View) bool { return slices.Equal(a.Members, b.Members) }

// F20: the view outlives the registry's data.
func TestKeeper_WritesALostViewAnew(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a, b := start(t, registry, o, "a"), start(t, registry, o, "b")
	await(t, "one view", func() bool { return len(a.Current().Members) == 2 && len(b.Current().Members) == 2 })
	before := a.Current()
	registry.Wipe()
	for _, k := range []*membership.Keeper{a, b} {
		await(t, "a higher epoch of the same members", func() bool {
			return k.Current().Epoch > before.Epoch && sameMembers(k.Current(), before) && k.Contact() == nil
		})
	}
	start(t, registry, o, "c")
	await(t, "life goes on", func() bool { return len(a.Current().Members) == 3 })
}

// A registry restored from a backup shows a view of the past.
func TestKeeper_DoesNotGoBackInTime(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a := start(t, registry, o, "a")
	past := registry.Document()
	b := start(t, registry, o, "b")
	await(t, "one view", func() bool { return a.Current().Epoch == b.Current().Epoch })
	before := b.Current()
	registry.Put(past)
	await(t, "the present is back", func() bool { return epochOf(t, registry) > before.Epoch })
	await(t, "with both", func() bool { return a.Current().Epoch > before.Epoch && sameMembers(a.Current(), b.Current()) })
	require.Len(t, a.Current().Members, 2)
}

func TestKeeper_LeavesADocumentAloneThatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not ours": "shopping list", "of a later protocol": `{"protocol":99}`, "huge": strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := quick(t)
			registry := membership.NewMemory(o.TTL)
			a := start(t, registry, o, "a")
			before := a.Current()
			registry.Put([]byte(text))
			await(t, "contact ends", func() bool { return a.Contact() != nil })
			require.Same(t, before, a.Current())
			require.Equal(t, text, string(registry.Document()))
			err := join(t, open(t, registry, o), "b")
			if name == "of a later protocol" {
				require.ErrorIs(t, err, membership.ErrIncompatible)
				require.NotContains(t, err.Error(), "delete it")
			} else {
				require.ErrorIs(t, err, membership.ErrForeign)
				require.ErrorContains(t, err, "delete it")
			}
			registry.Wipe()
			await(t, "contact again", func() bool { return a.Contact() == nil })
			require.Greater(t, a.Current().Epoch, before.Epoch)
		})
	}
}

// A fleet is upgraded broker by broker: neighbours in version work together, others do not.
func TestKeeper_WorksWithTheVersionBeforeAndAfter(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	version := func(n int) membership.Options {
		v := o
		v.Protocol, v.Oldest = n, n-1
		return v
	}
	two := start(t, registry, version(2), "two")
	start(t, registry, version(3), "three")
	await(t, "two and three together", func() bool { return len(two.Current().Members) == 2 })
	require.Contains(t, string(registry.Document()), `"protocol":2,"epoch"`)
	for _, stranger := range []int{4, 5} {
		err := join(t, open(t, registry, version(stranger)), "stranger")
		require.ErrorIs(t, err, membership.ErrIncompatible)
		require.ErrorContains(t, err, " speaks protocol ")
	}
	require.NoError(t, two.Leave(t.Context()))
	again := start(t, registry, version(2), "again")
	require.Equal(t, 2, again.Current().Protocol, "an upgrade can be taken back")
	require.NoError(t, again.Leave(t.Context()))
	start(t, registry, version(4), "four")
	err := join(t, open(t, registry, version(2)), "back")
	require.ErrorIs(t, err, membership.ErrIncompatible, "the fleet speaks 3 now")
}

// A member that the registry misses for a moment is no reason to let somebody in who
// does not understand it, nor to keep that one waiting when it is back.
func TestKeeper_RefusesAStrangerAlsoWhileTheRegistryMissesWhoDoesNotUnderstandIt(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.Wait = time.Minute
	registry := membership.NewMemory(o.TTL)
	line := registry.Connect()
	old := membership.New(line, o)
	require.NoError(t, join(t, old, "old"))
	line.Cut()
	await(t, "the registry to miss it", func() bool {
		listed, _, err := registry.Connect().Healthy(t.Context(), 0, 0)
		return err == nil && len(listed) == 0
	})
	o.Protocol, o.Oldest = 3, 2
	ctx, cancel := context.WithTimeout(t.Context(), o.TTL)
	defer cancel()
	require.ErrorIs(t, open(t, registry, o).Join(ctx, member("early"), alive), context.DeadlineExceeded, "it waits to see")
	answer, late := make(chan error, 1), open(t, registry, o)
	go func() { answer <- late.Join(t.Context(), member("late"), alive) }()
	line.Mend()
	require.ErrorIs(t, <-answer, membership.ErrIncompatible)
	require.Len(t, old.Current().Members, 1)
	require.NoError(t, old.Leave(t.Context()))
}

// F4: a broker was away while the fleet was upgraded.
func TestKeeper_LearnsFromALaterVersionThatItIsRemoved(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	k := start(t, registry, o, "a")
	registry.Put([]byte(`{"protocol":2,"epoch":9,"form":"new","members":[{"id":"z"},{"id":"b"}]}`))
	select {
	case <-k.Removed():
	case <-time.After(patience):
		t.Fatal("it does not see that it is out")
	}
	require.ErrorIs(t, k.Contact(), membership.ErrRemoved)
}

// The monotonic clock of a virtual machine stands still while it is suspended.
func TestKeeper_LosesContactWhenTheWallClockJumps(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	o := quick(t)
	o.Now = func() time.Time {
		// Add moves both readings: the wall clock alone is moved by dropping the other.
		if d := time.Duration(ahead.Load()); d != 0 {
			return time.Now().Round(0).Add(d)
		}
		return time.Now()
	}
	registry := membership.NewMemory(o.TTL)
	line := registry.Connect()
	k := membership.New(line, o)
	require.NoError(t, k.Join(t.Context(), member("a"), alive))
	await(t, "contact", func() bool { return k.Contact() == nil })
	line.Cut()
	ahead.Store(int64(time.Hour))
	require.ErrorIs(t, k.Contact(), membership.ErrNoContact)
	line.Mend()
	await(t, "contact again", func() bool { return k.Contact() == nil })
	require.NoError(t, k.Leave(t.Context()))
}

// logged collects log lines.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// F19: a registry that is down is told of, but not with every attempt.
func TestKeeper_TellsOfAnOutageOnce(t *testing.T) {
	t.Parallel()
	var log logged
	o := quick(t)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	line := membership.NewMemory(o.TTL).Connect()
	line.Cut()
	k := membership.New(line, o)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	joined := make(chan error, 1)
	go func() { joined <- k.Join(ctx, member("a"), alive) }()
	select {
	case <-time.After(2 * time.Second): // some ten attempts
	case err := <-joined:
		require.NoError(t, err)
	}
	require.Equal(t, 1, strings.Count(log.String(), "trying on: reading the fleet's view"), log.String())
	line.Mend()
	require.NoError(t, <-joined, "it comes in when the registry serves")
	require.Contains(t, log.String(), "the registry serves again")
	require.NoError(t, k.Leave(t.Context()))
}

// F3: of several dead whose machines say so each is removed as soon as the one before is.
func TestKeeper_RemovesThoseProvenGoneWithoutAPause(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.Pace = time.Hour
	registry := membership.NewMemory(o.TTL)
	var dead atomic.Bool
	asked := func(_ context.Context, m membership.Member) error {
		if m.ID == "survivor" || !dead.Load() {
			return nil
		}
		return membership.ErrGone
	}
	survivor := open(t, registry, o)
	require.NoError(t, survivor.Join(t.Context(), member("survivor"), asked))
	for _, id := range []string{"a", "b", "c"} {
		line := registry.Connect()
		k := membership.New(line, o)
		require.NoError(t, k.Join(t.Context(), member(id), asked))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_ = k.Leave(ctx)
		})
		defer line.Cut()
	}
	await(t, "four", func() bool { return len(survivor.Current().Members) == 4 })
	var views []*membership.View
	stop := survivor.Watch(func(v *membership.View) { views = append(views, v) })
	dead.Store(true)
	for _, id := range []string{"a", "b", "c"} {
		survivor.Suspect(id)
	}
	await(t, "one", func() bool { return len(survivor.Current().Members) == 1 })
	stop()
	require.Len(t, views, 4, "one removal in each view")
}

// A broker that the members do not take for one of theirs, as one with a certificate of
// another authority, stays out, and they stay as they are.
func TestKeeper_AStrangerStaysOut(t *testing.T) {
	t.Parallel()
	o := quick(t)
	registry := membership.NewMemory(o.TTL)
	a, b := start(t, registry, o, "a"), start(t, registry, o, "b")
	await(t, "two", func() bool { return len(a.Current().Members) == 2 && len(b.Current().Members) == 2 })
	epoch := a.Current().Epoch
	stranger := open(t, registry, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := stranger.Join(ctx, member("x"), func(context.Context, membership.Member) error {
		return fmt.Errorf("%w: its certificate is of another authority", membership.ErrStranger)
	})
	require.ErrorIs(t, err, membership.ErrStranger)
	require.ErrorContains(t, err, "its certificate is of another authority")
	start(t, registry, o, "c")
	await(t, "three", func() bool { return len(a.Current().Members) == 3 })
	require.Equal(t, epoch+1, a.Current().Epoch, "the stranger was never in")
}

// Two brokers at one address: the older one is no more, whatever the registry says.
func TestKeeper_SuspectsTheIncarnationBefore(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.TTL = time.Minute // the registry would not notice
	o.Heartbeat = 200 * time.Millisecond
	registry := membership.NewMemory(o.TTL)
	asked := func(_ context.Context, m membership.Member) error {
		if m.ID == "old" {
			return membership.ErrGone // another one answers there
		}
		return nil
	}
	watcher := open(t, registry, o)
	require.NoError(t, watcher.Join(t.Context(), member("watcher"), asked))
	oldLine := registry.Connect()
	old := membership.New(oldLine, o)
	require.NoError(t, old.Join(t.Context(), member("old"), asked))
	oldLine.Cut() // it crashes
	again := open(t, registry, o)
	require.NoError(t, again.Join(t.Context(), membership.Member{ID: "new", Address: "old.test:47200"}, asked))
	await(t, "the new one instead of the old", func() bool {
		v := watcher.Current()
		return v.Has("new") && !v.Has("old")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, old.Leave(ctx), context.DeadlineExceeded)
}

// A broker that finds others listed, but no view, gives them time to write it.
func TestKeeper_WaitsForThoseWhoLostTheView(t *testing.T) {
	t.Parallel()
	o := quick(t)
	o.Wait = time.Second
	registry := membership.NewMemory(o.TTL)
	require.NoError(t, registry.Connect().Register(t.Context(), membership.Entry{ID: "x", Address: "x:1", Protocol: 1, Oldest: 1}))
	began := time.Now()
	k := start(t, registry, o, "a")
	require.GreaterOrEqual(t, time.Since(began), o.Wait)
	require.True(t, k.Current().Has("a"), "but not for ever")
}

func TestBoard_ShowsOnlyWhatIsNewer(t *testing.T) {
	t.Parallel()
	var b membership.Board
	var saw []uint64
	stop := b.Watch(func(v *membership.View) { saw = append(saw, v.Epoch) })
	for _, epoch := range []uint64{2, 1, 2, 5} {
		b.Show(&membership.View{Epoch: epoch})
	}
	stop()
	b.Show(&membership.View{Epoch: 6})
	require.Equal(t, []uint64{0, 2, 5}, saw)
	require.Equal(t, uint64(6), b.Current().Epoch)
}
