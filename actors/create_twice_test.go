package actors

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
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

// F41, C22: a create comes again to a broker that has not heard of the session yet, and
// waits there for a place. A delete finds the session that its client was told of.
func TestDelete_DuringARepeatedCreateFindsWhatTheFirstOneMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deaf, dropped := w.deafPlacer()
	deaf.Store(true)
	w.host("a").connect()
	spec := &messages.SessionSpec{Name: "desk", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL}
	again := func(id string) *actor.Future {
		future := actor.NewFuture(w.deps.System, 10*time.Second)
		w.peers.Tell(messages.KindSession, id, &messages.CreateSession{SessionId: id, Spec: spec, RequestDigest: []byte("digest of ann")}, future.PID())
		<-dropped
		return future
	}
	w.storedElsewhere("s-1", "ann", "a")
	asked := again("s-1")
	require.Equal(t, deleting, w.delete("s-1", "ann", true).(*messages.SessionView).GetState())
	answer, err := asked.Result()
	require.NoError(t, err)
	require.IsType(t, &messages.SessionView{}, answer, "it was there")
	w.awaitState("s-1", deleted)

	asked = again("s-2")
	w.refused(w.delete("s-2", "bob", true), messages.CodeSessionNotFound)
	w.refused(w.delete("s-2", "ann", true), messages.CodeSessionNotFound)
	answer, err = asked.Result()
	require.NoError(t, err)
	w.refused(answer, messages.CodeSessionDeleted)
}

// overtaken does the first write of each kind of change of a session and says that it
// was repeated, and that the record had been changed by then.
type overtaken struct {
	persistence.Store
	mu   sync.Mutex
	done map[bool]bool // by whether the record was new
}

func (s *overtaken) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := s.Store.Apply(ctx, ops)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range ops {
		if made := op.Record.Version == 0; op.Record.Key.Kind == RecordSession && !s.done[made] {
			s.done[made] = true
			results[i] = persistence.Result{Err: persistence.ErrOvertaken}
		}
	}
	return results
}

// F1: the leader of the store changed while a create was saved, which an owner before had
// saved as well. What is stored answers it; who changes it has to look again, soon.
func TestCreate_OvertakenByItselfIsAnsweredFromTheStore(t *testing.T) {
	t.Parallel()
	w := worldOver(t, &overtaken{Store: memory.New(), done: map[bool]bool{false: true}})
	w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
}

func TestDelete_OvertakenIsToBeTriedAgainSoon(t *testing.T) {
	t.Parallel()
	w := worldOver(t, &overtaken{Store: memory.New(), done: map[bool]bool{true: true, false: true}})
	w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	store := w.store.(*overtaken)
	store.mu.Lock()
	store.done[false] = false
	store.mu.Unlock()
	w.refused(w.delete("s-1", "ann", true), messages.CodeBusy)
	require.IsType(t, &messages.SessionView{}, w.delete("s-1", "ann", true))
	w.awaitState("s-1", deleted)
}

// F1, promise 1: a create came again to a broker that has not heard of the session, and
// waits there for a place. The host, on which the first one launched it, shows the session
// and not a second one of that name.
func TestFound_DuringARepeatedCreateIsNotASecondSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deaf, dropped := w.deafPlacer()
	deaf.Store(true)
	h := w.host("a").connect()
	future := actor.NewFuture(w.deps.System, 10*time.Second)
	spec := &messages.SessionSpec{Name: "desk", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL}
	w.peers.Tell(messages.KindSession, "s-1", &messages.CreateSession{SessionId: "s-1", Spec: spec, RequestDigest: []byte("digest of ann")}, future.PID())
	<-dropped
	w.storedElsewhere("s-1", "ann", "a")
	h.start("s-1", "ann", "virtual")
	for range 20 { // it would be asked under which name it is shown, and answer
		h.report()
		w.handled("a")
	}
	deaf.Store(false)
	w.moves(messages.KindSession, "s-1")
	w.wakes(messages.KindSession, "s-1")
	await(t, "the session to be shown", func() error {
		h.report()
		return stateIs(w, "s-1", ready)
	})
	w.handled("a")
	require.Equal(t, []string{"s-1"}, shownSessions(w))
}

func shownSessions(w *world) (ids []string) {
	for _, e := range w.deps.views().SessionsOn("a") {
		ids = append(ids, e.View.GetId())
	}
	return ids
}
