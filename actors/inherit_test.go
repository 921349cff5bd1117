package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// shows looks what readers see once everything that was told is published.
func (o *otherRoster) shows(id string) *messages.SessionView {
	o.w.t.Helper()
	o.tell(&messages.RosterAck{From: "other"})
	o.tell(&messages.RosterAck{From: "other"})
	return o.w.view(id)
}

func viewOf(id string, version int64) *messages.SessionView {
	return &messages.SessionView{Id: id, Owner: "user", State: messages.SessionState_SESSION_STATE_READY, Version: version}
}

// What was removed does not come back by an older picture of it, whichever way that took:
// a late update, a page, another broker's last words.
func TestRoster_WhatWasRemovedDoesNotComeBackByAnOlderPicture(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	sequence := uint64(7)
	update := func(m *messages.RosterUpdate) {
		sequence++
		m.From, m.Sequence = "other", sequence
		o.tell(m)
	}
	update(&messages.RosterUpdate{Sessions: []*messages.SessionView{viewOf("a", 5), viewOf("b", 5)}})
	require.NotNil(t, o.shows("a"))
	update(&messages.RosterUpdate{RemovedSessions: []*messages.Removal{{Id: "b", Version: 4}}})
	require.NotNil(t, o.shows("b"), "a removal of an older picture removes no newer one")

	update(&messages.RosterUpdate{RemovedSessions: []*messages.Removal{{Id: "a", Version: 5}}})
	require.Nil(t, o.shows("a"))
	for _, version := range []int64{1, 5} {
		update(&messages.RosterUpdate{Sessions: []*messages.SessionView{viewOf("a", version)}})
		require.Nil(t, o.shows("a"), "an update of version %d", version)
	}
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self"})
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self", Others: map[string]string{"other": otherAddress}})
	awaitGot[*messages.RosterPull](o)
	o.tell(&messages.RosterPage{From: "other", Sequence: sequence, Sessions: []*messages.SessionView{viewOf("a", 5)}, Last: true})
	require.Nil(t, o.shows("a"), "a page")
	update(&messages.RosterUpdate{Sessions: []*messages.SessionView{viewOf("a", 6)}})
	require.NotNil(t, o.shows("a"), "made anew")

	update(&messages.RosterUpdate{Servers: []*messages.ServerView{{Id: "s", Version: 3}}, RemovedServers: []*messages.Removal{{Id: "s", Version: 3}}})
	update(&messages.RosterUpdate{Servers: []*messages.ServerView{{Id: "s", Version: 3}}})
	o.shows("a")
	require.Nil(t, w.server("s"), "servers, too")
}

// What a broker removes itself it tells the others with the version that was removed.
func TestRoster_ARemovalCarriesItsVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 8, Sessions: []*messages.SessionView{viewOf("a", 5)}})
	w.deps.Roster.tell(&removeSession{"a"})
	require.Nil(t, o.shows("a"))
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 9, Sessions: []*messages.SessionView{viewOf("a", 5)}})
	require.Nil(t, o.shows("a"), "its older picture was on its way")
	for {
		if gone := awaitGot[*messages.RosterUpdate](o).GetRemovedSessions(); len(gone) > 0 {
			require.Equal(t, "a", gone[0].GetId())
			require.GreaterOrEqual(t, gone[0].GetVersion(), int64(5))
			return
		}
	}
}

// A broker dies whose last updates reached this one and perhaps nobody else: it passes
// them on. What is older everybody has, or asks for.
func TestRoster_PassesOnTheLastUpdatesOfADeadBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self", Others: map[string]string{"other": otherAddress, "dead": deadAddress}})
	o.tell(&messages.RosterPage{From: "dead", Sequence: 1, Last: true})
	o.tell(&messages.RosterUpdate{From: "dead", Sequence: 2, Sessions: []*messages.SessionView{viewOf("old", 5)}})
	w.clock.Advance(tailTime + heartbeat)
	o.beat()
	o.tell(&messages.RosterUpdate{From: "dead", Sequence: 3, Sessions: []*messages.SessionView{viewOf("new", 5), viewOf("gone", 5)}})
	o.tell(&messages.RosterUpdate{From: "dead", Sequence: 4, RemovedSessions: []*messages.Removal{{Id: "gone", Version: 5}}})
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self", Others: map[string]string{"other": otherAddress}})
	for {
		m := awaitGot[*messages.RosterUpdate](o)
		for _, v := range m.GetSessions() {
			require.NotEqual(t, "old", v.GetId(), "what is old enough is not repeated")
		}
		if len(m.GetSessions()) == 0 {
			continue
		}
		require.Equal(t, "self", m.GetFrom())
		require.Equal(t, "new", m.GetSessions()[0].GetId())
		require.Equal(t, "gone", m.GetRemovedSessions()[0].GetId())
		break
	}
	require.NotNil(t, o.shows("old"))
	require.NotNil(t, o.shows("new"))
	require.Nil(t, o.shows("gone"))
}

// A server is forgotten by a broker whose roster does not show it: the others are told.
func TestRoster_ARemovalOfAServerThatIsNotShownIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	w.deps.Roster.tell(&removeServer{"s"})
	for {
		if gone := awaitGot[*messages.RosterUpdate](o).GetRemovedServers(); len(gone) > 0 {
			require.Equal(t, "s", gone[0].GetId())
			require.Greater(t, gone[0].GetVersion(), int64(Loaded))
			return
		}
	}
}
