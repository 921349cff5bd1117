package membership

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func entry(id string) Entry { return Entry{ID: id, Address: id + ":47200", Protocol: 1, Oldest: 1} }

func doc(epoch uint64, ids ...string) *document {
	d := &document{Epoch: epoch, Protocol: 1}
	for _, id := range ids {
		d.Members = append(d.Members, entry(id))
	}
	return d
}

func healthy(ids ...string) map[string]Entry {
	m := map[string]Entry{}
	for _, id := range ids {
		m[id] = entry(id)
	}
	return m
}

// calm is a fleet of three where all is well.
func calm() *situation {
	d := doc(7, "a", "b", "c")
	return &situation{rules: Options{}.withDefaults().rules(), now: noon, self: entry("a"), stored: d, held: d,
		healthy: healthy("a", "b", "c"), left: map[string]bool{}, absent: map[string]time.Time{},
		suspects: map[string]time.Time{}, probes: map[string]probed{"b": {at: noon}, "c": {at: noon}}, confirmed: true}
}

func members(d *document) []string {
	var ids []string
	for _, m := range d.Members {
		ids = append(ids, m.ID)
	}
	return ids
}

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// lose makes the registry miss a member, and its probes fail.
func (s *situation) lose(id string) {
	delete(s.healthy, id)
	s.absent[id] = ago(time.Second)
	s.probes[id] = probed{failures: 2, at: noon, before: ago(150 * time.Millisecond)}
}

// isolate makes nobody answer whom the registry still sees.
func (s *situation) isolate(since time.Duration) {
	for _, id := range []string{"b", "c"} {
		s.suspects[id], s.probes[id] = ago(since), probed{failures: 2, at: noon}
	}
}

// goAstray makes the registry miss b, which says that it has no contact.
func (s *situation) goAstray(change func(*probed)) {
	s.lose("b")
	s.absent["b"] = ago(s.stray)
	p := probed{lost: true, asked: ago(s.stray), at: noon}
	if change != nil {
		change(&p)
	}
	s.probes["b"] = p
}

// ended makes the latest probe of a member prove that its process is no more.
func (s *situation) ended(id string) {
	p := s.probes[id]
	p.gone = true
	s.probes[id] = p
}

func TestDecide_ACalmFleetStaysAsItIs(t *testing.T) {
	t.Parallel()
	require.Nil(t, decide(calm()))
}

func TestDecide_Table(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*situation)
		want   []string // members of the proposal, nil for none
	}{
		"a healthy newcomer is added": {func(s *situation) { s.healthy["d"] = entry("d") }, []string{"a", "b", "c", "d"}},
		"one that was removed is never added again": {func(s *situation) {
			s.healthy["d"] = entry("d")
			s.stored.Gone = []gone{{ID: "d"}}
		}, nil},
		"a newcomer that is leaving is not added": {func(s *situation) { s.healthy["d"], s.left["d"] = entry("d"), true }, nil},
		"a newcomer that a living member does not understand is not added": {func(s *situation) {
			s.healthy["d"] = Entry{ID: "d", Address: "d:1", Protocol: 3, Oldest: 2}
		}, nil},
		"it is when those are all dead": {func(s *situation) {
			s.self = Entry{ID: "d", Address: "d:1", Protocol: 3, Oldest: 2}
			s.held, s.healthy = nil, map[string]Entry{"d": s.self}
			s.absent = map[string]time.Time{"a": ago(s.wait), "b": ago(s.wait), "c": ago(s.wait)}
		}, []string{"a", "b", "c", "d"}},
		"not when the registry misses one of them for a moment": {func(s *situation) {
			s.self = Entry{ID: "d", Address: "d:1", Protocol: 3, Oldest: 2}
			s.held, s.healthy = nil, map[string]Entry{"d": s.self}
			s.absent = map[string]time.Time{"a": ago(s.wait), "b": ago(s.wait), "c": ago(s.wait - 1)}
		}, nil},
		"a dead member is removed": {func(s *situation) { s.lose("b") }, []string{"a", "c"}},
		"only one of two is":       {func(s *situation) { s.lose("b"); s.lose("c"); s.absent["b"] = ago(2 * time.Second) }, []string{"a", "c"}},
		"not soon if nobody answers: it may be us": {func(s *situation) {
			s.lose("b")
			s.probes["c"] = probed{at: ago(time.Minute)}
		}, nil},
		"not before the grace is over": {func(s *situation) { s.lose("b"); s.absent["b"] = ago(499 * time.Millisecond) }, nil},
		"not by probes from before it was missed": {func(s *situation) {
			s.lose("b")
			s.probes["b"] = probed{failures: 9, at: noon, before: ago(1001 * time.Millisecond)}
		}, nil},
		"not without a probe":                   {func(s *situation) { s.lose("b"); delete(s.probes, "b") }, nil},
		"not after one failed probe":            {func(s *situation) { s.lose("b"); s.probes["b"] = probed{failures: 1, at: noon} }, nil},
		"not by a probe of long ago":            {func(s *situation) { s.lose("b"); s.probes["b"] = probed{failures: 9, at: ago(3 * time.Second)} }, nil},
		"not soon after another removal":        {func(s *situation) { s.lose("b"); s.removal = ago(1999 * time.Millisecond) }, nil},
		"but when that is settled":              {func(s *situation) { s.lose("b"); s.removal = ago(2 * time.Second) }, []string{"a", "c"}},
		"or when it is proven gone":             {func(s *situation) { s.lose("b"); s.ended("b"); s.removal = noon }, []string{"a", "c"}},
		"or when the one that is proven gone":   {func(s *situation) { s.lose("b"); s.lose("c"); s.ended("c"); s.removal = noon; s.isolation = 0 }, []string{"a", "b"}},
		"not one proven gone before the grace":  {func(s *situation) { s.lose("b"); s.ended("b"); s.absent["b"] = ago(499 * time.Millisecond) }, nil},
		"not while the registry does not say":   {func(s *situation) { s.lose("b"); s.healthy = nil }, nil},
		"not by one that is not healthy itself": {func(s *situation) { s.lose("b"); delete(s.healthy, "a") }, nil},
		"not by one that leaves itself":         {func(s *situation) { s.lose("b"); s.left["a"] = true }, nil},
		"not by one that is no member yet": {func(s *situation) {
			s.lose("b")
			s.self, s.held = entry("d"), nil
			s.healthy["d"] = s.self
		}, []string{"a", "b", "c", "d"}},
		"not itself": {func(s *situation) { s.absent["a"], s.probes["a"] = ago(time.Hour), probed{failures: 9, at: noon} }, nil},
		"a suspect whose process is no more is removed at once": {func(s *situation) {
			s.suspects["c"], s.probes["c"] = noon, probed{failures: 2, gone: true, at: noon}
		}, []string{"a", "b"}},
		"one that is only silent is not, as it may be slow": {func(s *situation) {
			s.suspects["c"], s.probes["c"] = ago(s.patience-1), probed{failures: 2, at: noon}
		}, nil},
		"but it is when that lasts for some time": {func(s *situation) {
			s.suspects["c"], s.probes["c"] = ago(s.patience), probed{failures: 2, at: noon}
		}, []string{"a", "b"}},
		"a suspect that answers is not": {func(s *situation) { s.suspects["c"], s.probes["c"] = noon, probed{at: noon} }, nil},
		"nobody whom Consul still sees is, if nobody answers: it may be us": {func(s *situation) {
			s.suspects["b"], s.probes["b"] = noon, probed{failures: 2, at: noon}
			s.suspects["c"], s.probes["c"] = noon, probed{failures: 2, at: noon}
		}, nil},
		"but after some hesitation": {func(s *situation) {
			s.isolate(s.patience + s.isolation)
		}, []string{"a", "c"}},
		"longer than those hesitate who reach somebody: they are to go on": {func(s *situation) { s.isolate(s.patience + s.isolation - 1) }, nil},
		"also when it is proven that one of them is gone": {func(s *situation) {
			s.isolate(s.isolation - 1)
			s.ended("b")
		}, nil},
		"a leaver is removed at once, before the dead": {func(s *situation) {
			s.lose("b")
			s.left["c"], s.removal = true, noon
		}, []string{"a", "b"}},
		"one that answers is not, though the registry misses it": {func(s *situation) {
			s.lose("b")
			s.absent["b"], s.probes["b"] = ago(s.orphaned-1), probed{at: noon}
		}, nil},
		"but it is when that lasts": {func(s *situation) {
			s.lose("b")
			s.absent["b"], s.probes["b"] = ago(s.orphaned), probed{at: noon}
		}, []string{"a", "c"}},
		"one that says that it has no contact is sooner": {func(s *situation) { s.goAstray(nil) }, []string{"a", "c"}},
		"not before it was missed for some time": {func(s *situation) {
			s.goAstray(nil)
			s.absent["b"] = ago(s.stray - 1)
		}, nil},
		"not by its word from before": {func(s *situation) { s.goAstray(func(p *probed) { p.asked = ago(s.stray + 1) }) }, nil},
		"not by its word of long ago": {func(s *situation) { s.goAstray(func(p *probed) { p.at = ago(time.Second) }) }, nil},
		"not soon after a removal": {func(s *situation) {
			s.goAstray(nil)
			s.removal = ago(s.pace - 1)
		}, nil},
		"not by one that the registry does not serve": {func(s *situation) {
			s.goAstray(nil)
			s.confirmed = false
		}, nil},
		"not while it is listed": {func(s *situation) {
			s.goAstray(nil)
			s.healthy["b"] = entry("b")
			delete(s.absent, "b")
		}, nil},
		"a newcomer and a removal are one step": {func(s *situation) { s.lose("b"); s.healthy["d"] = entry("d") }, []string{"a", "c", "d"}},
		"a document that is gone is written anew": {func(s *situation) { s.stored = nil; s.lose("b"); s.healthy["d"] = entry("d") },
			[]string{"a", "b", "c", "d"}},
		"so is one from the past":              {func(s *situation) { s.stored = doc(6, "a", "x") }, []string{"a", "b", "c"}},
		"so is another one of the same epoch":  {func(s *situation) { s.stored = doc(7, "a", "x") }, []string{"a", "b", "c"}},
		"an older view of ours judges nothing": {func(s *situation) { s.held = doc(6, "a", "b", "x") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := calm()
			c.change(s)
			p := decide(s)
			if c.want == nil {
				require.Nil(t, p)
				return
			}
			require.NotNil(t, p)
			require.Equal(t, c.want, members(p.next))
		})
	}
}

func TestDecide_TheFirstViewWaits(t *testing.T) {
	t.Parallel()
	s := &situation{rules: Options{}.withDefaults().rules(), now: noon, self: entry("a"), healthy: healthy(), missing: ago(999 * time.Millisecond)}
	require.Nil(t, decide(s))
	s.missing = ago(time.Second)
	require.Equal(t, []string{"a"}, members(decide(s).next))
	s.healthy = healthy("b") // it has, or had, a view
	require.Nil(t, decide(s))
	s.missing = ago(6 * time.Second)
	require.Equal(t, []string{"a"}, members(decide(s).next))
	s.healthy = nil
	require.Nil(t, decide(s))
}

func TestDecide_MarksThatHaveServedAreCleared(t *testing.T) {
	t.Parallel()
	s := calm()
	s.left = map[string]bool{"c": true, "old": true}
	p := decide(s)
	require.Equal(t, []string{"a", "b"}, members(p.next))
	require.Equal(t, []string{"c", "old"}, p.clear)
	require.True(t, p.next.Gone[0].Left)
}

func TestDecide_WhatItRemembersOfTheRemovedIsBounded(t *testing.T) {
	t.Parallel()
	s := calm()
	for i := range maxGone {
		s.stored.Gone = append(s.stored.Gone, gone{ID: fmt.Sprint("g", i)})
	}
	s.lose("b")
	p := decide(s)
	require.Len(t, p.next.Gone, maxGone)
	require.Equal(t, "b", p.next.Gone[maxGone-1].ID)
	require.NoError(t, p.next.check())
}

// Consul keeps listing those whose removal its agents may not write (acl.tokens.agent).
func TestDecide_RemembersTheRemovedThatAreStillListed(t *testing.T) {
	t.Parallel()
	s := calm()
	for i := range maxGone {
		g := gone{ID: fmt.Sprintf("g%02d", i)}
		s.stored.Gone = append(s.stored.Gone, g)
		if i != 7 {
			s.healthy[g.ID] = Entry{ID: g.ID, Address: g.ID + ":1", Protocol: Protocol, Oldest: OldestProtocol}
		}
	}
	s.lose("b")
	p := decide(s)
	require.True(t, p.next.removed("g00"))
	require.False(t, p.next.removed("g07"), "of this one nobody speaks any more")
	require.True(t, p.next.removed("b"))
	require.NoError(t, p.next.check())
}

var ids = []string{"a", "b", "c", "d", "e", "f"}

func anySet(t *rapid.T, label string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !rapid.Bool().Draw(t, label+" "+id) })
}

func anyDocument(t *rapid.T, label string) *document {
	if rapid.IntRange(0, 9).Draw(t, label+" missing") == 0 {
		return nil
	}
	members := anySet(t, label)
	if len(members) == 0 {
		members = ids[:1]
	}
	d := doc(rapid.Uint64Range(1, 9).Draw(t, label+" epoch"), members...)
	for _, id := range anySet(t, label+" gone") {
		if !d.has(id) {
			d.Gone = append(d.Gone, gone{ID: id})
		}
	}
	return d
}

func anyTimes(t *rapid.T, label string) map[string]time.Time {
	m := map[string]time.Time{}
	for _, id := range anySet(t, label) {
		m[id] = ago(time.Duration(rapid.IntRange(0, 5000).Draw(t, label+" ms")) * time.Millisecond)
	}
	return m
}

func anySituation(t *rapid.T) *situation {
	s := calm()
	s.self = entry(rapid.SampledFrom(ids).Draw(t, "self"))
	s.stored, s.held = anyDocument(t, "stored"), anyDocument(t, "held")
	if s.held != nil && !s.held.has(s.self.ID) {
		s.held = nil // it acts by views that hold it
	}
	s.confirmed = rapid.Bool().Draw(t, "confirmed")
	if s.stored == s.held || rapid.Bool().Draw(t, "up to date") && s.held != nil {
		s.stored = s.held
	}
	s.missing = ago(time.Duration(rapid.IntRange(0, 9000).Draw(t, "missing ms")) * time.Millisecond)
	s.healthy = healthy(anySet(t, "healthy")...)
	for _, id := range anySet(t, "left") {
		s.left[id] = true
	}
	s.absent, s.suspects = anyTimes(t, "absent"), anyTimes(t, "suspects")
	for id, at := range anyTimes(t, "probes") {
		failures := rapid.IntRange(0, 3).Draw(t, "failures")
		before := at.Add(-time.Duration(rapid.IntRange(0, 1000).Draw(t, "before ms")) * time.Millisecond)
		s.probes[id] = probed{failures: failures, before: before, at: at,
			gone: failures > 0 && rapid.Bool().Draw(t, "gone"), lost: failures == 0 && rapid.Bool().Draw(t, "lost"), asked: before}
	}
	if rapid.Bool().Draw(t, "removed before") {
		s.removal = ago(time.Duration(rapid.IntRange(0, 4000).Draw(t, "removal ms")) * time.Millisecond)
	}
	return s
}

func TestDecide_KeepsItsPromisesInAnySituation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySituation(t)
		before := fmt.Sprintf("%+v %+v", s.stored, s.held)
		p := decide(s)
		require.Equal(t, before, fmt.Sprintf("%+v %+v", s.stored, s.held), "it changes nothing itself")
		if p == nil {
			return
		}
		checkProposal(t, s, p)
	})
}

func checkProposal(t *rapid.T, s *situation, p *proposal) {
	require.NoError(t, p.next.check())
	if s.stored == nil && s.held == nil {
		require.Equal(t, []Entry{s.self}, p.next.Members)
		return
	}
	require.Contains(t, s.healthy, s.self.ID, "only the healthy propose")
	from := s.stored
	if lost(s.stored, s.held) {
		from = s.held
	}
	for _, d := range []*document{s.stored, s.held} {
		if d != nil && !(d == s.held && from == s.stored) {
			require.Greater(t, p.next.Epoch, d.Epoch, "epochs rise")
		}
	}
	if from.has(s.self.ID) {
		require.True(t, p.next.has(s.self.ID), "nobody removes itself")
	}
	for _, m := range p.next.Members {
		if !from.has(m.ID) {
			require.Contains(t, s.healthy, m.ID, "only the healthy are added")
			require.False(t, from.removed(m.ID), "nobody comes back")
		}
	}
	gone := slices.DeleteFunc(members(from), p.next.has)
	require.LessOrEqual(t, len(gone), 1, "one removal in a view")
	if len(gone) == 0 {
		return
	}
	id := gone[0]
	require.Equal(t, id, p.removed)
	require.True(t, p.next.removed(id))
	if s.left[id] {
		return
	}
	if s.missedFor(id, s.orphaned) {
		return
	}
	if s.probes[id].lost {
		require.True(t, s.confirmed && s.missedFor(id, s.stray), "who has no contact is certainly missed")
		return
	}
	require.GreaterOrEqual(t, s.probes[id].failures, 2, "nobody is removed who answered")
	if !s.removal.IsZero() && !s.probes[id].gone {
		require.GreaterOrEqual(t, s.now.Sub(s.removal), s.pace, "time between removals of those who might live")
	}
	_, suspect := s.suspects[id]
	require.True(t, suspect || s.now.Sub(s.absent[id]) >= s.grace && !s.probes[id].before.Before(s.absent[id]))
}

// TestDecide_EveryDeathIsFoundInTheEnd plays on: whoever stays dead is removed, one by
// one, and the living stay.
func TestDecide_EveryDeathIsFoundInTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := calm()
		s.stored = doc(1, ids...)
		s.held = s.stored
		s.healthy = healthy(ids...)
		s.self = entry(rapid.SampledFrom(ids).Draw(t, "self"))
		alive := maps.Clone(s.healthy)
		for _, id := range anySet(t, "dead") {
			if id != s.self.ID {
				delete(alive, id)
				s.lose(id)
			}
		}
		for range 10 * len(ids) {
			if p := decide(s); p != nil {
				checkProposal(t, s, p)
				s.stored, s.held, s.removal = p.next, p.next, s.now
			}
			s.now = s.now.Add(500 * time.Millisecond)
			for _, id := range members(s.stored) {
				if _, lives := alive[id]; lives {
					s.probes[id] = probed{at: s.now}
				} else {
					s.probes[id] = probed{failures: 2, at: s.now}
				}
			}
		}
		require.Equal(t, slices.Sorted(maps.Keys(alive)), members(s.stored))
	})
}
