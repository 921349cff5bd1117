package membershiptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// patience is how long anything may take before a test fails; a busy machine is slow.
const patience = 60 * time.Second

// world is the brokers of one case and the network between them.
type world struct {
	*testing.T
	fleet Fleet

	mu      sync.Mutex
	brokers map[string]*broker
	probed  map[string][]outcome // per target
}

// outcome is one probe.
type outcome struct {
	from string
	ok   bool
}

// broker is one of them.
type broker struct {
	world  *world
	id     string
	source membership.Source
	line   Line

	mu    sync.Mutex
	mute  bool // answers no probe
	epoch uint64
	saw   []sight
}

// sight is a view and when it was shown.
type sight struct {
	*membership.View
	at time.Time
}

func newWorld(t *testing.T, f Fleet) *world {
	return &world{T: t, fleet: f, brokers: map[string]*broker{}, probed: map[string][]outcome{}}
}

// open makes a broker that has not joined.
func (w *world) open(id string) *broker {
	w.Helper()
	b := &broker{world: w, id: id}
	b.source, b.line = w.fleet.Open(w)
	stop := b.source.Watch(b.watched)
	w.mu.Lock()
	w.brokers[id] = b
	w.mu.Unlock()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.source.Leave(ctx) // it may be cut off
		stop()
	})
	return b
}

// start makes a broker join.
func (w *world) start(id string) *broker {
	w.Helper()
	b := w.open(id)
	require.NoError(w, b.join(), "join of %s", id)
	return b
}

// startAll makes a fleet of several that all have the same view.
func (w *world) startAll(ids ...string) []*broker {
	w.Helper()
	var all []*broker
	for _, id := range ids {
		all = append(all, w.start(id))
	}
	w.agree(all...)
	return all
}

func (b *broker) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.source.Join(ctx, b.member(), b.probe)
}

func (b *broker) member() membership.Member {
	return membership.Member{ID: b.id, Address: b.id + ".test:47200"}
}

func (b *broker) watched(v *membership.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw = append(b.saw, sight{v, time.Now()})
	b.epoch = v.Epoch
}

func (b *broker) sights() []sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.saw)
}

// probe is how a broker asks another: by the network of this world.
func (b *broker) probe(ctx context.Context, m membership.Member) error {
	w := b.world
	w.mu.Lock()
	target := w.brokers[m.ID]
	w.mu.Unlock()
	err := fmt.Errorf("nobody is at %s", m.Address)
	if target != nil {
		err = b.reach(ctx, target)
	}
	if b.source.Current().Has(b.id) { // one that wants to join may look whom it can reach
		w.mu.Lock()
		w.probed[m.ID] = append(w.probed[m.ID], outcome{b.id, err == nil || errors.Is(err, membership.ErrOtherEpoch)})
		w.mu.Unlock()
	}
	return err
}

func (b *broker) reach(ctx context.Context, target *broker) error {
	target.mu.Lock()
	mute, epoch := target.mute, target.epoch
	target.mu.Unlock()
	if b.muted() || mute {
		<-ctx.Done()
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != epoch {
		return membership.ErrOtherEpoch
	}
	return nil
}

func (b *broker) muted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mute
}

func (b *broker) setMute(mute bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mute = mute
}

// crash ends a broker without a goodbye; it may wake up again, as one that was paused.
func (b *broker) crash() {
	b.setMute(true)
	b.line.Cut()
}

// resume ends crash.
func (b *broker) resume() {
	b.setMute(false)
	b.line.Mend()
}

// probes are the outcomes of all probes of a target.
func (w *world) probes(target string) []outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.probed[target])
}

// await waits until something is true.
func (w *world) await(what string, try func() bool) {
	w.Helper()
	require.Eventually(w, try, patience, 10*time.Millisecond, "%s", what)
}

// agree waits until these brokers, and nobody else, are in the view of each of them.
func (w *world) agree(all ...*broker) {
	w.Helper()
	w.agreeOn(all, all...)
}

// agreeOn waits until each of those who look has exactly these members in its view.
func (w *world) agreeOn(members []*broker, look ...*broker) {
	w.Helper()
	var want []string
	for _, b := range members {
		want = append(want, b.id)
	}
	slices.Sort(want)
	for _, b := range look {
		w.await(fmt.Sprintf("%s has the view %v", b.id, want), func() bool {
			return slices.Equal(names(b.source.Current()), want)
		})
	}
}

func names(v *membership.View) []string {
	var ids []string
	for _, m := range v.Members {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return ids
}

// views are all that anybody saw, by epoch, each at the time it was seen first.
func (w *world) views() map[uint64]sight {
	all := map[uint64]sight{}
	for _, b := range w.all() {
		for _, s := range b.sights() {
			if old, ok := all[s.Epoch]; !ok || s.at.Before(old.at) {
				all[s.Epoch] = s
			}
		}
	}
	return all
}

func (w *world) all() []*broker {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*broker
	for _, b := range w.brokers {
		all = append(all, b)
	}
	return all
}

func (w *world) checkHistory() {
	w.Helper()
	for _, b := range w.all() {
		saw := b.sights()
		for i, s := range saw[1:] {
			require.Greater(w, s.Epoch, saw[i].Epoch, "the epochs that %s saw rise", b.id)
		}
	}
	views := w.views()
	for _, b := range w.all() {
		for _, s := range b.sights() {
			require.Equal(w, names(views[s.Epoch].View), names(s.View), "the members of epoch %d", s.Epoch)
		}
	}
	for epoch, v := range views {
		if before, ok := views[epoch-1]; ok {
			gone := 0
			for _, m := range before.Members {
				if !v.Has(m.ID) {
					gone++
				}
			}
			require.LessOrEqual(w, gone, 1, "members that epoch %d is without", epoch)
		}
	}
}

// firstWithout is when a view without a member was seen first, after one with it.
func (w *world) firstWithout(id string) time.Time {
	w.Helper()
	var since, until time.Time
	for _, s := range w.views() {
		if s.Has(id) && s.at.After(since) {
			since = s.at
		}
	}
	for _, s := range w.views() {
		if !s.Has(id) && s.at.After(since) && (until.IsZero() || s.at.Before(until)) {
			until = s.at
		}
	}
	require.False(w, until.IsZero(), "a view without %s was seen", id)
	return until
}
