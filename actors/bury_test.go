package actors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// Promise 1: the request to create a session is sent again while its answer is on its
// way, and a copy may come when the session was deleted long ago, from a broker that was
// paused. The operator wants the deleted to be shown for a moment only; the copy does not
// make a session that nobody asked for.
func TestCreate_LateCopyDoesNotMakeADeletedSessionAgain(t *testing.T) {
	t.Parallel()
	keep := func(c *Config) { c.Session.KeepDeleted = time.Second }
	w := newWorld(t, keep)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.delete("s-1", "ann", false)
	w.awaitState("s-1", deleted)
	expires(t, w, time.Second, func() bool { return w.view("s-1") != nil })
	w.accepted("s-1", "ann") // as a repetition with the same key is answered
	w.handled("a")
	require.Nil(t, w.view("s-1"))
	require.Equal(t, 1, h.creates)
	w.refused(w.delete("s-1", "ann", true), messages.CodeSessionNotFound)

	w.stop()
	w = worldOver(t, w.store, keep)
	w.accepted("s-1", "ann")
	require.Nil(t, w.view("s-1"), "nor after a restart")

	await(t, "the record to be forgotten", func() error {
		w.clock.Advance(w.deps.Config.Session.Bury / 4)
		if records := w.scan(RecordSession); len(records) > 0 {
			return errors.New("still there")
		}
		return nil
	})
}

// A session made without us has no request: its record ends with its time.
func TestFound_SessionMadeWithoutUsIsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.KeepDeleted = time.Second })
	h := w.host("a").connect()
	h.start("console", "ann", "console")
	h.report()
	w.awaitState("console", ready)
	h.lose("console")
	h.report()
	w.awaitState("console", deleted)
	expires(t, w, time.Second, func() bool { return w.view("console") != nil })
	require.Empty(t, w.scan(RecordSession))
	h.start("console", "ann", "console")
	h.report()
	w.awaitState("console", ready)
}

// What was removed is not remembered for ever, also by a broker that has nobody to tell.
func TestRoster_ForgetsWhatItRemovedLongAgo(t *testing.T) {
	t.Parallel()
	for name, past := range map[string]time.Duration{"long ago": graveTime + purgeEvery, "just now": graveTime / 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deps.Roster.tell(&publishSession{view: viewOf("a", 5)})
			w.deps.Roster.tell(&removeSession{"a"})
			require.NoError(t, w.deps.Roster.DropLoaded(nil)) // behind it
			for at := time.Duration(0); at <= past; at += purgeEvery {
				w.clock.Advance(purgeEvery)
				require.NoError(t, w.deps.Roster.DropLoaded(nil))
			}
			o := newOther(w)
			o.tell(&messages.RosterPage{From: "other", Sequence: 1, Sessions: []*messages.SessionView{viewOf("a", 5)}, Last: true})
			require.Equal(t, past > graveTime, o.shows("a") != nil)
		})
	}
}
