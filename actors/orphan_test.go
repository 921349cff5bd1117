package actors

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// switched is a store that is replaced by an empty one.
type switched struct {
	first, second persistence.Store
	wiped         *atomic.Bool
}

func (s switched) now() persistence.Store {
	if s.wiped.Load() {
		return s.second
	}
	return s.first
}

func (s switched) Load(ctx context.Context, k persistence.Key) (persistence.Record, error) {
	return s.now().Load(ctx, k)
}

func (s switched) Save(ctx context.Context, r persistence.Record) (int64, error) {
	return s.now().Save(ctx, r)
}

func (s switched) Delete(ctx context.Context, k persistence.Key, v int64) error {
	return s.now().Delete(ctx, k, v)
}

func (s switched) Scan(ctx context.Context, kind, after string, n int) ([]persistence.Record, error) {
	return s.now().Scan(ctx, kind, after, n)
}

func (s switched) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	return s.now().Apply(ctx, ops)
}

func (s switched) Close() error { return nil }

// put stores a session behind the back of all grains, as a broker does that is killed
// before it can publish it.
func (w *world) put(s *messages.SessionRecord) {
	w.t.Helper()
	data, err := proto.Marshal(s)
	require.NoError(w.t, err)
	key := persistence.Key{Kind: RecordSession, ID: s.GetId()}
	old, _ := w.store.Load(w.t.Context(), key)
	_, err = w.store.Save(w.t.Context(), persistence.Record{Key: key, Version: old.Version, Data: data})
	require.NoError(w.t, err)
}

func (w *world) wakeAll(m *messages.Wake) {
	for _, id := range []string{"s-1", "s-2", "s-3"} {
		w.peers.Tell(messages.KindSession, id, m, nil)
	}
	w.peers.Tell(messages.KindServer, "a", m, nil)
}

// wipe deletes all records, as an operator might.
func (w *world) wipe() {
	w.t.Helper()
	for _, kind := range []string{RecordSession, RecordServer} {
		for _, r := range w.scan(kind) {
			require.NoError(w.t, w.store.Delete(w.t.Context(), r.Key, r.Version))
		}
	}
}

func (w *world) awaitRecord(id string, state session.State) *messages.SessionRecord {
	w.t.Helper()
	var seen *messages.SessionRecord
	await(w.t, fmt.Sprintf("the record of %s to be %s", id, state), func() error {
		if seen = w.record(id); seen.GetState() != string(state) {
			return fmt.Errorf("it is %v", seen)
		}
		return nil
	})
	return seen
}

// Promise 6: a create was saved, and its broker killed before anybody was told, at any
// step of its life. It is shown and comes to a defined end.
func TestOrphan_OfAnyStateIsShownAndEnds(t *testing.T) {
	t.Parallel()
	for state, end := range map[session.State]messages.SessionState{
		session.Queued: ready, session.Placed: ready, session.Replacing: ready, session.Ready: ready,
		session.Deleting: deleted, session.Deleted: deleted,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.host("a").connect()
			now := w.clock.Now()
			record := &messages.SessionRecord{Id: "s-1", DcvId: "s-1", State: string(state), CreatedUnixMs: now.UnixMilli(), SinceUnixMs: now.UnixMilli(),
				DeadlineUnixMs: now.Add(w.deps.Config.Session.Queue).UnixMilli(),
				Spec:           &messages.SessionSpec{Name: "desk", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL, EnqueueRequest: state == session.Queued}}
			if state != session.Queued && state != session.Replacing {
				record.ServerId = "a"
			}
			if state == session.Ready {
				record.DeadlineUnixMs = 0
			}
			w.put(record)
			require.Nil(t, w.view("s-1"))
			w.wakeAll(&messages.Wake{Check: true})
			w.awaitState("s-1", end)
		})
	}
}

// A change was saved and its broker killed before it was shown: what readers see is made
// what is stored, also by a grain that had been loaded before.
func TestOrphan_AChangeThatWasNotShown(t *testing.T) {
	t.Parallel()
	for _, loaded := range []bool{true, false} {
		t.Run(fmt.Sprint("loaded ", loaded), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := w.host("a")
			h.connect()
			w.accepted("s-1", "ann")
			w.awaitState("s-1", ready)
			record := w.awaitRecord("s-1", session.Ready)
			if !loaded {
				w.peers.Tell(messages.KindSession, "s-1", &messages.Passivate{}, nil)
			}
			record.State, record.DeleteAsked = string(session.Deleting), true
			record.DeadlineUnixMs = w.clock.Now().Add(w.deps.Config.Session.Delete).UnixMilli()
			w.put(record)
			w.wakeAll(&messages.Wake{Check: true})
			w.awaitState("s-1", deleted)
		})
	}
}

// Asking in vain changes nothing: not what is shown, not a create under way.
func TestOrphan_LookingChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	for range 5 {
		w.wakeAll(&messages.Wake{Check: true})
		w.handled("a")
	}
	require.Equal(t, creating, w.view("s-1").GetState())
	require.Nil(t, w.view("s-2"))
	h.set(func(h *host) { h.silent = false })
	w.awaitRecord("s-1", session.Placed)
	h.disconnect()
	h.connect()
	w.awaitState("s-1", ready)
}

// F20: somebody deletes every record. What grains hold is written back as it was, what
// nobody holds as readers see it, and a closed server stays closed.
func TestWipe_EverythingIsWrittenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.connect()
	w.accepted("s-1", "ann", enqueued)
	w.awaitState("s-1", ready)
	w.accepted("s-3", "eve")
	w.awaitState("s-3", ready)
	require.IsType(t, &messages.SessionView{}, w.delete("s-3", "eve", false))
	w.awaitState("s-3", deleted)
	h.set(func(h *host) { h.silent = true })
	w.accepted("s-2", "bob", func(s *messages.SessionSpec) {
		s.InitFile, s.Requirements = "init.sh", "server:Host.Os.Family = 'linux'"
	})
	w.ask(messages.KindServer, "a", &messages.CloseServer{ServerId: "a", Force: true})
	for _, id := range []string{"s-1", "s-3"} { // nobody talks about them for a while
		w.peers.Tell(messages.KindSession, id, &messages.Passivate{}, nil)
	}
	w.wipe()
	w.wakeAll(&messages.Wake{Check: true})
	require.Equal(t, "ann", w.awaitRecord("s-1", session.Ready).GetSpec().GetOwner())
	coming := w.awaitRecord("s-2", session.Placed)
	require.Equal(t, "init.sh", coming.GetSpec().GetInitFile())
	require.NotEmpty(t, coming.GetRequestDigest())
	require.NotZero(t, w.awaitRecord("s-3", session.Deleted).GetDeadlineUnixMs())
	await(t, "the server's record", func() error {
		for _, r := range w.scan(RecordServer) {
			record := &messages.ServerRecord{}
			require.NoError(t, proto.Unmarshal(r.Data, record))
			if record.GetClosed() && record.GetId() == "a" {
				return nil
			}
		}
		return fmt.Errorf("there is none")
	})
	require.Equal(t, deleted, w.view("s-3").GetState())
}

// The wipe comes while the store is down: a grain whose save failed still knows how the
// session is to be made.
func TestWipe_WhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	var down, wiped atomic.Bool
	first, second := memory.New(), memory.New()
	store := faulty.New(switched{first, second, &wiped}, faulty.Config{Decide: func(faulty.Call) faulty.Fault {
		if down.Load() {
			return faulty.Unavailable
		}
		return faulty.None
	}})
	w := worldOver(t, store)
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann", func(s *messages.SessionSpec) { s.InitFile = "init.sh" })
	down.Store(true)
	w.peers.Tell(messages.KindSession, "s-1", &messages.SessionLaunchFailed{SessionId: "s-1", ServerId: "a", Code: messages.AgentFailed, Message: "no"}, nil)
	for range 3 {
		w.handled("a")
		w.clock.Advance(1100e6)
	}
	wiped.Store(true)
	down.Store(false)
	await(t, "the record to be written back", func() error {
		w.clock.Advance(1100e6)
		if s := w.record("s-1"); s.GetSpec().GetInitFile() != "init.sh" {
			return fmt.Errorf("it is %v", s)
		}
		return nil
	})
	require.NotEqual(t, deleted, w.view("s-1").GetState())
}

// A server that nobody speaks for, of a broker that is gone, is written back as readers see it.
func TestWipe_AServerWithoutAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deps.Roster.tell(&publishServer{view: &messages.ServerView{Id: "lost", Closed: true, MachineId: "m", AgentClientId: "c", Version: 5}})
	await(t, "the server to be shown", func() error {
		if w.server("lost") == nil {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	w.peers.Tell(messages.KindServer, "lost", &messages.Wake{Check: true}, nil)
	w.awaitRecords(RecordServer, 1)
	record := &messages.ServerRecord{}
	require.NoError(t, proto.Unmarshal(w.scan(RecordServer)[0].Data, record))
	require.True(t, record.GetClosed())
	require.True(t, record.GetUnreachable())
	require.Equal(t, "c", record.GetAgentClientId())
}
