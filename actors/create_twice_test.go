package actors

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// storedElsewhere writes the record of a session as an activation on another broker
// does that is ended before it can show or answer anything.
func (w *world) storedElsewhere(id, owner, serverID string) {
	w.t.Helper()
	spec := &messages.SessionSpec{Name: "desk", Owner: owner, Type: messages.SessionType_SESSION_TYPE_VIRTUAL}
	made, err := session.New(w.clock.Now(), id, spec, []byte("digest of "+owner)).
		On(w.clock.Now(), session.Event{Kind: session.Granted, ServerID: serverID}, w.deps.Config.Session)
	require.NoError(w.t, err)
	data, err := proto.Marshal(made.Next.Record())
	require.NoError(w.t, err)
	results := w.store.Apply(w.t.Context(), []persistence.Op{{Record: persistence.Record{Key: persistence.Key{Kind: RecordSession, ID: id}, Data: data}}})
	require.NoError(w.t, results[0].Err)
}

// C22: a create is sent again because its first owner ended. That one had taken the
// last room for it, and the answer is not that there is none.
func TestCreate_SentAgainIsNotRefusedForTheRoomItHasTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("a", limited(1, 1)).connect()
	w.ask(messages.KindServer, "a", &messages.ReserveSlot{ServerId: "a", SessionId: "s-1", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL})
	w.awaitCount("a", 1)
	w.storedElsewhere("s-1", "ann", "a")
	w.accepted("s-1", "ann")
	require.Equal(t, "a", w.awaitState("s-1", ready).GetServerId())
	w.refused(w.create("s-1", "bob"), messages.CodeKeyReused)
}

func TestCreate_RefusedForARecordOfAnotherRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.storedElsewhere("s-1", "ann", "a")
	w.refused(w.create("s-1", "bob"), messages.CodeKeyReused)
}

// F41: who gives a create up that was sent again, gives up what its first owner made.
func TestDelete_OfACreateThatWasSentAgainEndsWhatTheFirstOwnerMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deaf, dropped := w.deafPlacer()
	deaf.Store(true)
	w.host("a").connect()
	w.storedElsewhere("s-1", "ann", "a")
	spec := &messages.SessionSpec{Name: "desk", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL}
	w.peers.Tell(messages.KindSession, "s-1", &messages.CreateSession{SessionId: "s-1", Spec: spec, RequestDigest: []byte("digest of ann")}, nil)
	<-dropped
	w.refused(w.delete("s-1", "ann", true), messages.CodeSessionNotFound)
	await(t, "the session to end", func() error {
		w.clock.Advance(time.Second)
		if v := w.view("s-1"); v.GetState() != deleted && v.GetState() != deleting {
			return session.ErrRefused
		}
		return nil
	})
}
