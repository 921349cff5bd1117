package membership

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A broker restarted at its address, and the one before was removed. The registry lists
// that one until its time to live is over, and all the while its successor would have to
// answer every probe to stay.
func TestObserved_WhoWasRemovedCastsNoDoubtOnItsSuccessor(t *testing.T) {
	t.Parallel()
	listed := func(d *document, ids ...string) []string {
		o := newObserved()
		o.adopt(d, noon)
		var entries []Entry
		for _, id := range ids {
			e := entry(id)
			e.Address = "same:1"
			entries = append(entries, e)
		}
		o.listed(entries, noon, noon, time.Minute)
		var suspects []string
		for id := range o.suspects {
			suspects = append(suspects, id)
		}
		slices.Sort(suspects)
		return suspects
	}
	at := func(d *document) *document {
		for i := range d.Members {
			d.Members[i].Address = "same:1"
		}
		return d
	}
	require.Equal(t, []string{"new", "old"}, listed(at(doc(2, "new", "old")), "new", "old"), "one of them is no more")
	require.Equal(t, []string{"old"}, listed(at(doc(1, "old")), "new"), "the new one waits to be let in")
	after := at(doc(3, "new"))
	after.Gone = []gone{{ID: "old"}}
	require.Empty(t, listed(after, "new", "old"))
	require.Empty(t, listed(after, "old"), "an answer from before the new one was listed")
}

// Consul lists for ever whom its agents may not take away; a minute is no reason to speak.
func TestObserved_SaysThatTheGoneAreStillListed(t *testing.T) {
	t.Parallel()
	o := newObserved()
	o.stored = doc(3, "a")
	o.stored.Gone = []gone{{ID: "old", UnixMS: ago(ghostly).UnixMilli()}, {ID: "late", UnixMS: ago(time.Second).UnixMilli()}, {ID: "forgotten"}}
	o.healthy = map[string]Entry{"a": entry("a"), "late": entry("late")}
	require.NoError(t, o.ghosts(noon))
	o.healthy["old"] = entry("old")
	require.ErrorContains(t, o.ghosts(noon), "1 of them, the latest is old")
}

// Brokers that are cut off from the registry together have no contact by each other's
// word while another one says that it serves. When it is down for all they do, and when it
// comes back it may serve one broker a moment before the next.
func TestObserved_WhoIsCutOffDoesNotGoByTheWordOfThoseCutOffWithIt(t *testing.T) {
	t.Parallel()
	o := Options{}.withDefaults()
	word := func(at time.Duration, id string, says error) func(*Keeper) {
		return func(k *Keeper) {
			k.settleProbe(id, says, says == nil, noon.Add(at), noon.Add(at), o)
		}
	}
	both := errors.Join(ErrOtherEpoch, ErrConfirmed)
	second := time.Second
	for name, c := range map[string]struct {
		words   []func(*Keeper) // of b, cut off too, and a
		at      time.Duration
		contact bool
	}{
		"the registry is down for all":     {[]func(*Keeper){word(3*second, "b", nil), word(3*second, "a", nil)}, 3 * second, true},
		"a is silent":                      {[]func(*Keeper){word(3*second, "b", nil), word(3*second, "a", context.DeadlineExceeded)}, 3 * second, true},
		"it serves a":                      {[]func(*Keeper){word(second, "a", ErrConfirmed), word(3*second, "b", nil), word(3*second, "a", ErrConfirmed)}, 3 * second, false},
		"it serves a, which has gone on":   {[]func(*Keeper){word(second, "a", ErrConfirmed), word(3*second, "b", nil), word(3*second, "a", both)}, 3 * second, false},
		"it served a, which is silent now": {[]func(*Keeper){word(second, "a", ErrConfirmed), word(2*second, "a", ErrConfirmed), word(3*second, "b", nil), word(3*second, "a", context.DeadlineExceeded)}, 3 * second, false},
		"and for long": {[]func(*Keeper){word(second, "a", ErrConfirmed), word(2*second, "a", ErrConfirmed),
			word(6*second, "b", nil), word(6*second, "a", context.DeadlineExceeded)}, 6 * second, true},
		"or gone":            {[]func(*Keeper){word(second, "a", ErrConfirmed), word(3*second, "b", nil), word(3*second, "a", ErrGone)}, 3 * second, true},
		"it ceased to serve": {[]func(*Keeper){word(second, "a", ErrConfirmed), word(3*second, "b", nil), word(3*second, "a", nil)}, 3 * second, true},
		"it serves a again, a moment ago": {[]func(*Keeper){word(second, "a", ErrConfirmed), word(9*second, "a", nil), word(9*second, "b", nil),
			word(10*second, "a", ErrConfirmed)}, 11 * second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := noon
			o := o
			o.Now = func() time.Time { return now }
			k := New(NewMemory(o.TTL).Connect(), o)
			k.phase, k.held = member, doc(7, "a", "b", "self")
			k.probes["a"], k.probes["b"] = &probing{}, &probing{}
			for _, w := range c.words {
				w(k)
			}
			now = noon.Add(c.at)
			if c.contact {
				require.NoError(t, k.Contact())
			} else {
				require.ErrorIs(t, k.Contact(), ErrNoContact)
			}
		})
	}
}

// A member takes this broker for a stranger at the very moment a view holds it: Join fails,
// and the others are told instead of having to probe it out.
func TestKeeper_WhoseJoinFailsInTheViewLeavesIt(t *testing.T) {
	t.Parallel()
	registry := NewMemory(DefaultTTL)
	k := New(registry.Connect(), Options{})
	k.phase, k.self = joining, entry("b")
	d := doc(7, "a", "b")
	shown, fate := k.judge(d)
	require.NotNil(t, shown)
	require.Equal(t, nowJoined, fate)
	require.Equal(t, nowRefused, k.refuse(ErrStranger))
	k.take(Stored{Version: 1}, d, true, noon)
	k.work.Wait()
	place, _, err := registry.Connect().Fleet(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, place.Left)
	require.ErrorIs(t, k.Contact(), ErrNotMember)
	k.end()
}
