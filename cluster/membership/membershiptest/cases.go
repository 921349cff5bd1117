package membershiptest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

func formsAlone(w *world) {
	a := w.open("a")
	require.ErrorIs(w, a.source.Contact(), membership.ErrNotMember)
	require.NoError(w, a.join())
	require.Equal(w, []membership.Member{a.member()}, a.source.Current().Members)
	require.NotZero(w, a.source.Current().Epoch)
	w.await("contact", func() bool { return a.source.Contact() == nil })
	require.NoError(w, a.source.Leave(w.Context()))
	require.ErrorIs(w, a.source.Contact(), membership.ErrNotMember)
}

func startTogether(w *world) {
	all := []*broker{w.open("a"), w.open("b"), w.open("c")}
	errs := make([]error, len(all))
	var joining sync.WaitGroup
	for i, b := range all {
		joining.Go(func() { errs[i] = b.join() })
	}
	joining.Wait()
	for _, err := range errs {
		require.NoError(w, err)
	}
	w.agree(all...)
}

func joinerAppears(w *world) {
	a := w.start("a")
	before := a.source.Current().Epoch
	b := w.start("b")
	require.True(w, b.source.Current().Has("b"), "Join returns when the view is current")
	w.agree(a, b)
	require.Greater(w, a.source.Current().Epoch, before)
	require.Equal(w, a.source.Current(), b.source.Current())
}

func leaveIsNotProbed(w *world) {
	all := w.startAll("a", "b", "c")
	require.NoError(w, all[2].source.Leave(w.Context()))
	w.agree(all[:2]...)
	require.Empty(w, w.probes("c"))
	select {
	case <-all[2].source.Removed():
		w.Fatal("who leaves is not told that it was removed")
	default:
	}
}

func lastLeaves(w *world) {
	all := w.startAll("a", "b")
	require.NoError(w, all[0].source.Leave(w.Context()))
	require.NoError(w, all[1].source.Leave(w.Context()))
}

func afterTheLast(w *world) {
	lastLeaves(w)
	c := w.start("c")
	w.agree(c)
	require.Empty(w, w.probes("a"))
	require.Empty(w, w.probes("b"))
}

func crashIsProbed(w *world) {
	all := w.startAll("a", "b", "c")
	all[1].crash()
	w.agree(all[0], all[2])
	requireFailed(w, "b")
}

// requireFailed: somebody's probes failed twice, and none succeeded.
func requireFailed(w *world, target string) {
	w.Helper()
	failures := map[string]int{}
	for _, p := range w.probes(target) {
		require.False(w, p.ok, "a probe of %s succeeded", target)
		failures[p.from]++
	}
	most := 0
	for _, n := range failures {
		most = max(most, n)
	}
	require.GreaterOrEqual(w, most, 2, "failed probes of %s", target)
}

func answeringStays(w *world) {
	all := w.startAll("a", "b", "c")
	all[1].line.Cut()
	w.await("the others ask the one that the source lost, again and again", func() bool { return len(w.probes("b")) >= 6 })
	require.True(w, all[0].source.Current().Has("b"))
	all[1].line.Mend()
	w.await("contact", func() bool { return all[1].source.Contact() == nil })
	d := w.start("d")
	w.agree(all[0], all[1], all[2], d) // nobody is stuck, and nobody was lost
	for _, s := range all[0].sights()[3:] {
		require.True(w, s.Has("b"), "epoch %d", s.Epoch)
	}
}

func removedOneByOne(w *world) {
	all := w.startAll("a", "b", "c", "d")
	all[1].crash()
	all[2].crash()
	w.agree(all[0], all[3])
	requirePace(w, "b", "c")
}

func requirePace(w *world, one, other string) {
	w.Helper()
	between := w.firstWithout(one).Sub(w.firstWithout(other)).Abs()
	require.GreaterOrEqual(w, between, w.fleet.Pace())
}

func suspectIsOut(w *world) {
	all := w.startAll("a", "b", "c")
	all[2].setMute(true) // the source still sees it well
	all[0].source.Suspect("c")
	w.agree(all[0], all[1])
	requireFailed(w, "c")
}

func answeringSuspectStays(w *world) {
	all := w.startAll("a", "b", "c")
	all[0].source.Suspect("c")
	all[0].source.Suspect("a") // nonsense does no harm
	all[0].source.Suspect("nobody")
	w.await("the suspect is asked", func() bool { return len(w.probes("c")) > 0 })
	d := w.start("d")
	w.agree(append(all, d)...)
	require.Empty(w, w.probes("a"))
}

func suspectsOneByOne(w *world) {
	all := w.startAll("a", "b", "c", "d")
	all[2].setMute(true)
	all[3].setMute(true)
	all[0].source.Suspect("c")
	all[0].source.Suspect("d")
	w.agree(all[0], all[1])
	requirePace(w, "c", "d")
}

func removedLearns(w *world) {
	all := w.startAll("a", "b", "c")
	all[1].crash()
	w.agree(all[0], all[2])
	all[1].resume()
	awaitRemoved(w, all[1])
	require.ErrorIs(w, all[1].source.Contact(), membership.ErrRemoved)
	require.False(w, all[1].source.Current().Has("b"))
	w.agree(all[0], all[2]) // being reachable again does not bring it back
}

func awaitRemoved(w *world, b *broker) {
	w.Helper()
	select {
	case <-b.source.Removed():
	case <-time.After(patience):
		w.Fatalf("%s has not found that it was removed", b.id)
	}
}

func joinsAgain(w *world) {
	all := w.startAll("a", "b")
	all[1].crash()
	w.agree(all[0])
	all[1].resume()
	awaitRemoved(w, all[1])
	again := w.start("b2")
	w.agree(all[0], again)
}

func oldIDStaysOut(w *world) {
	all := w.startAll("a", "b")
	all[1].crash()
	w.agree(all[0])
	second, line := w.fleet.Open(w)
	line.Mend()
	require.ErrorIs(w, second.Join(w.Context(), all[1].member(), all[1].probe), membership.ErrRemoved)
	w.agree(all[0])
}

func contactEnds(w *world) {
	all := w.startAll("a", "b", "c")
	for _, b := range all {
		w.await("contact", func() bool { return b.source.Contact() == nil })
	}
	all[2].crash()
	var lost error
	w.await("no contact any more", func() bool { lost = all[2].source.Contact(); return lost != nil })
	require.ErrorIs(w, lost, membership.ErrNoContact)
	w.agree(all[0], all[1])
	w.await("contact without it", func() bool { return all[0].source.Contact() == nil })
}

func majorityKeepsContact(w *world) {
	all := w.startAll("a", "b", "c", "d", "e")
	for _, b := range all {
		b.line.Cut()
	}
	all[3].setMute(true)
	w.await("the ones ask each other", func() bool { return len(w.probes("a")) > 8 && len(w.probes("b")) > 8 })
	for _, b := range all[:3] {
		w.await("contact by a majority of three in five", func() bool { return b.source.Contact() == nil })
	}
	w.await("no contact alone", func() bool { return all[3].source.Contact() != nil })
	all[2].setMute(true)
	all[4].setMute(true)
	w.await("two in five are no majority", func() bool { return all[0].source.Contact() != nil })
	for _, b := range all {
		b.setMute(false)
	}
	for _, b := range all {
		b.line.Mend()
	}
	for _, b := range all {
		w.await("contact again", func() bool { return b.source.Contact() == nil })
	}
	w.agree(all...)
	views, most := w.views(), 0
	for _, epoch := range slices.Sorted(maps.Keys(views)) { // a source may say the same again
		members := len(views[epoch].Members)
		require.GreaterOrEqual(w, members, most, "nobody was removed meanwhile: epoch %d", epoch)
		most = members
	}
}

func otherEpochIsNoContact(w *world) {
	all := w.startAll("a", "b", "c")
	all[0].line.Cut() // it does not see the one that joins, but is answered
	d := w.start("d")
	everybody := append(all, d)
	w.agreeOn(everybody, all[1], all[2], d)
	w.await("no contact behind", func() bool { return all[0].source.Contact() != nil })
	all[0].line.Mend()
	w.agree(everybody...)
	w.await("contact again", func() bool { return all[0].source.Contact() == nil })
}

func watchInOrder(w *world) {
	all := w.startAll("a", "b")
	var mu sync.Mutex
	var saw []uint64
	stop := all[0].source.Watch(func(v *membership.View) {
		mu.Lock()
		defer mu.Unlock()
		saw = append(saw, v.Epoch)
	})
	mu.Lock()
	require.Equal(w, []uint64{all[0].source.Current().Epoch}, saw, "the current one comes first")
	mu.Unlock()
	for _, id := range []string{"c", "d", "e"} {
		all = append(all, w.start(id))
		w.agree(all...)
	}
	stop()
	mu.Lock()
	seen := len(saw)
	require.Len(w, saw, 4)
	require.IsIncreasing(w, saw)
	mu.Unlock()
	w.agree(append(all, w.start("f"))...)
	mu.Lock()
	defer mu.Unlock()
	require.Len(w, saw, seen, "nothing is shown after stop")
}

func joinEnds(w *world) {
	b := w.open("a")
	b.line.Cut()
	ctx, cancel := context.WithTimeout(w.Context(), 300*time.Millisecond)
	defer cancel()
	err := b.source.Join(ctx, b.member(), b.probe)
	require.ErrorIs(w, err, context.DeadlineExceeded)
	require.NotEqual(w, context.DeadlineExceeded.Error(), err.Error(), "the reason is told")
}

func joinsOnce(w *world) {
	a := w.start("a")
	require.Error(w, a.join())
	require.True(w, a.source.Current().Has("a"))
	require.NoError(w, a.source.Leave(w.Context()))
	require.NoError(w, a.source.Leave(w.Context()), "leaving twice does no harm")
	require.Error(w, a.join())
}

func badMembers(w *world) {
	for _, m := range []membership.Member{
		{}, {ID: "a"}, {Address: "a:1"}, {ID: "a/b", Address: "a:1"}, {ID: "a\n", Address: "a:1"},
		{ID: string(make([]byte, 1000)), Address: "a:1"}, {ID: "a", Address: "ä:1"},
	} {
		source, _ := w.fleet.Open(w)
		require.Error(w, source.Join(w.Context(), m, nil), "%q", m)
		require.NoError(w, source.Leave(w.Context()))
	}
}
