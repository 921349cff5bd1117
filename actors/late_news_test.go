package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// deletedElsewhere has the former owner of a session store that it is to be deleted, and
// returns what that owner publishes.
func (w *world) deletedElsewhere(id string) *messages.SessionView {
	w.t.Helper()
	for _, r := range w.scan(RecordSession) {
		if r.Key.ID != id {
			continue
		}
		out, err := session.FromRecord(w.record(id)).On(w.clock.Now(), session.Event{Kind: session.DeleteAsked}, w.deps.Config.Session)
		require.NoError(w.t, err)
		data, err := proto.Marshal(out.Next.Record())
		require.NoError(w.t, err)
		results := w.store.Apply(w.t.Context(), []persistence.Op{{Record: persistence.Record{Key: r.Key, Version: r.Version, Data: data}}})
		require.NoError(w.t, results[0].Err)
		return out.Next.View(w.view(id).GetVersion() + 1)
	}
	w.t.Fatalf("session %s is not stored", id)
	return nil
}

// F5: a delete was accepted by the former owner of a session and reached this broker, its
// owner by now, when it had begun to act for it already. It is done.
func TestRoster_LateNewsOfTheFormerOwnerIsActedUpon(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(*otherRoster, *messages.SessionView){
		"as an update": func(o *otherRoster, v *messages.SessionView) {
			o.tell(&messages.RosterUpdate{From: "other", Sequence: 1, Sessions: []*messages.SessionView{v}})
		},
		"on a page": func(o *otherRoster, v *messages.SessionView) {
			o.tell(&messages.RosterPage{From: "other", Sequence: 1, Last: true, Sessions: []*messages.SessionView{v}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deps.Owns = func(string, string) bool { return true }
			h := w.host("a").connect()
			w.accepted("s-1", "ann")
			w.awaitState("s-1", ready)
			o := newOther(w)
			send(o, w.deletedElsewhere("s-1"))
			w.awaitState("s-1", deleted)
			require.Empty(t, h.running())
		})
	}
}

// The same for a server that was closed: nothing is placed there any more.
func TestRoster_LateNewsOfAClosedServerIsActedUpon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deps.Owns = func(string, string) bool { return true }
	w.host("a").connect()
	stored := w.scan(RecordServer)[0]
	record := &messages.ServerRecord{}
	require.NoError(t, proto.Unmarshal(stored.Data, record))
	record.Closed = true
	data, err := proto.Marshal(record)
	require.NoError(t, err)
	_, err = w.store.Save(t.Context(), persistence.Record{Key: stored.Key, Version: stored.Version, Data: data})
	require.NoError(t, err)
	closed := proto.CloneOf(w.server("a"))
	closed.Closed, closed.Version = true, closed.GetVersion()+1000 // by the other broker's clock

	newOther(w).tell(&messages.RosterUpdate{From: "other", Sequence: 1, Servers: []*messages.ServerView{closed}})
	w.awaitServer("a", "to be published as closed by its grain", func(v *messages.ServerView) bool {
		return v.GetClosed() && v.GetVersion() > closed.GetVersion()
	})
}
