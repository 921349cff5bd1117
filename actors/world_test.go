package actors

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/server"
	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// world is a broker's actors on a bare actor system: no cluster, no network, and a
// clock that only moves when a test says so.
type world struct {
	t     testing.TB
	deps  *Deps
	clock *manualClock
	peers *localPeers
	store persistence.Store
	stop  func() // as kill -9 does: what was being saved is, what was not is lost
}

type option func(*Config)

func newWorld(t testing.TB, options ...option) *world {
	return worldOver(t, memory.New(), options...)
}

// worldOver is a broker that starts with what the store holds.
func worldOver(t testing.TB, store persistence.Store, options ...option) *world {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }),
		actor.WithDeadLetterRequestLogging(false))
	committer := persistence.NewCommitter(store, persistence.CommitterConfig{Logger: logger})
	w := &world{t: t, clock: &manualClock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, store: store}
	w.deps = &Deps{System: system, Store: committer, Clock: w.clock, Logger: logger, Config: DefaultConfig()}
	for _, o := range options {
		o(&w.deps.Config)
	}
	w.stop = sync.OnceFunc(func() { system.Shutdown(); committer.Close(context.Background()) })
	t.Cleanup(w.stop)
	w.peers = &localPeers{deps: w.deps, grains: map[string]*actor.PID{}}
	w.deps.Peers = w.peers
	Start(w.deps, w.stored())
	w.wakeStored()
	return w
}

func (w *world) stored() *roster.Builder {
	b := roster.NewBuilder()
	for _, r := range w.scan(RecordServer) {
		var record messages.ServerRecord
		require.NoError(w.t, proto.Unmarshal(r.Data, &record))
		s := server.New(record.GetId())
		s.Facts, s.MachineID, s.Closed, s.Reachable = record.GetFacts(), record.GetMachineId(), record.GetClosed(), !record.GetUnreachable()
		s.ClientID = record.GetAgentClientId()
		b.PutServer(s.View(1))
	}
	servers := b.Snapshot()
	for _, r := range w.scan(RecordSession) {
		var record messages.SessionRecord
		require.NoError(w.t, proto.Unmarshal(r.Data, &record))
		s := session.FromRecord(&record)
		if _, known := servers.Server(s.ServerID); !known && s.State == session.Ready {
			s.State = session.Unknown
		}
		if s.State != session.Buried {
			b.PutSession(s.View(1))
		}
	}
	return b
}

func (w *world) wakeStored() {
	for _, r := range w.scan(RecordServer) {
		w.peers.Tell(messages.KindServer, r.Key.ID, &messages.Wake{}, nil)
	}
	for _, r := range w.scan(RecordSession) {
		w.peers.Tell(messages.KindSession, r.Key.ID, &messages.Wake{}, nil)
	}
}

func (w *world) scan(kind string) []persistence.Record {
	records, err := w.store.Scan(w.t.Context(), kind, "", 10_000)
	require.NoError(w.t, err)
	return records
}

// record is a session as it is stored, nil if it is not.
func (w *world) record(id string) *messages.SessionRecord {
	for _, r := range w.scan(RecordSession) {
		if r.Key.ID == id {
			record := &messages.SessionRecord{}
			require.NoError(w.t, proto.Unmarshal(r.Data, record))
			return record
		}
	}
	return nil
}

// deafPlacer stands before the placer and drops creates while told to. It has to be
// put there before anything is placed.
func (w *world) deafPlacer() (deaf *atomic.Bool, dropped chan struct{}) {
	deaf, dropped = &atomic.Bool{}, make(chan struct{}, 100)
	behind := w.deps.Placer
	w.deps.Placer = w.deps.System.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case actor.SystemMessage, actor.AutoReceiveMessage:
		case *messages.PlaceSession:
			if deaf.Load() {
				dropped <- struct{}{}
				return
			}
			ctx.Forward(behind)
		default:
			ctx.Forward(behind)
		}
	}))
	return deaf, dropped
}

// ask sends to a grain and waits for its answer.
func (w *world) ask(kind, id string, msg proto.Message) any {
	w.t.Helper()
	future := actor.NewFuture(w.deps.System, 10*time.Second)
	w.peers.Tell(kind, id, msg, future.PID())
	answer, err := future.Result()
	require.NoError(w.t, err, "%T to %s %s", msg, kind, id)
	return answer
}

func (w *world) create(id, owner string, change ...func(*messages.SessionSpec)) any {
	w.t.Helper()
	spec := &messages.SessionSpec{Name: "desk", Owner: owner, Type: messages.SessionType_SESSION_TYPE_VIRTUAL}
	for _, c := range change {
		c(spec)
	}
	return w.ask(messages.KindSession, id, &messages.CreateSession{SessionId: id, Spec: spec, RequestDigest: []byte("digest of " + owner)})
}

func (w *world) accepted(id, owner string, change ...func(*messages.SessionSpec)) {
	w.t.Helper()
	answer := w.create(id, owner, change...)
	require.IsType(w.t, &messages.SessionView{}, answer, "%v", answer)
}

func (w *world) refused(answer any, code string) *messages.Refusal {
	w.t.Helper()
	require.IsType(w.t, &messages.Refusal{}, answer)
	require.Equal(w.t, code, answer.(*messages.Refusal).GetCode())
	return answer.(*messages.Refusal)
}

func (w *world) delete(id, owner string, force bool) any {
	w.t.Helper()
	return w.ask(messages.KindSession, id, &messages.DeleteSession{SessionId: id, Owner: owner, Force: force})
}

// view is a session as readers see it, nil if they do not.
func (w *world) view(id string) *messages.SessionView {
	if e, ok := w.deps.Roster.Snapshot().Session(id); ok {
		return e.View
	}
	return nil
}

func (w *world) awaitState(id string, want messages.SessionState) *messages.SessionView {
	w.t.Helper()
	await(w.t, fmt.Sprintf("session %s to be %s", id, want), func() error {
		if v := w.view(id); v.GetState() != want || v == nil {
			return fmt.Errorf("it is %v", v)
		}
		return nil
	})
	return w.view(id)
}

func (w *world) server(id string) *messages.ServerView {
	if e, ok := w.deps.Roster.Snapshot().Server(id); ok {
		return e.View
	}
	return nil
}

func (w *world) awaitServer(id, what string, holds func(*messages.ServerView) bool) {
	w.t.Helper()
	await(w.t, "server "+id+" "+what, func() error {
		if v := w.server(id); !holds(v) {
			return fmt.Errorf("it is %v", v)
		}
		return nil
	})
}

// awaitUnreachable lets the time pass that an agent may be away.
func (w *world) awaitUnreachable(id string) {
	w.t.Helper()
	w.awaitServer(id, "to be unreachable", func(s *messages.ServerView) bool {
		w.clock.Advance(time.Second)
		return !s.GetReachable()
	})
}

// awaitRecords waits until the store holds n of a kind.
func (w *world) awaitRecords(kind string, n int) {
	w.t.Helper()
	await(w.t, fmt.Sprintf("%d records of the kind %s", n, kind), func() error {
		if got := len(w.scan(kind)); got != n {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}

// await polls until try succeeds; on failure the last reason is shown.
func await(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

const (
	creating = messages.SessionState_SESSION_STATE_CREATING
	ready    = messages.SessionState_SESSION_STATE_READY
	deleting = messages.SessionState_SESSION_STATE_DELETING
	deleted  = messages.SessionState_SESSION_STATE_DELETED
	unknown  = messages.SessionState_SESSION_STATE_UNKNOWN
)

// localPeers are grains without a cluster.
type localPeers struct {
	deps   *Deps
	mu     sync.Mutex
	grains map[string]*actor.PID
	wrap   func(actor.Actor) actor.Actor // if set, around each new grain
}

func (p *localPeers) Tell(kind, id string, msg proto.Message, sender *actor.PID) {
	p.mu.Lock()
	defer p.mu.Unlock() // as the activator does: no message behind a retirement
	p.deps.System.Root.RequestWithCustomSender(p.grain(kind, id), msg, sender)
}

func (p *localPeers) grain(kind, id string) *actor.PID {
	if pid := p.grains[kind+"/"+id]; pid != nil {
		return pid
	}
	pid := p.deps.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		made := p.newGrain(kind)
		if p.wrap != nil {
			made = p.wrap(made)
		}
		return made
	}, actor.WithReceiverMiddleware(guarded(p.deps, kind))))
	p.deps.System.Root.Send(pid, &cluster.ClusterInit{Identity: cluster.NewClusterIdentity(id, kind)})
	p.grains[kind+"/"+id] = pid
	return pid
}

func (p *localPeers) newGrain(kind string) actor.Actor {
	switch kind {
	case messages.KindSession:
		return newSessionGrain(p.deps)
	case messages.KindServer:
		return newServerGrain(p.deps)
	default:
		return newQueueGrain(p.deps)
	}
}

func (p *localPeers) Retire(kind, id string, self *actor.PID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pid := p.grains[kind+"/"+id]; pid.Equal(self) {
		delete(p.grains, kind+"/"+id)
		p.deps.System.Root.Poison(pid)
	}
}

// manualClock moves when told to.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	alarms []alarm
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) At(t time.Time, ring func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarms = append(c.alarms, alarm{t, ring})
}

// Advance moves the clock and rings what became due, in order.
func (c *manualClock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	slices.SortStableFunc(c.alarms, func(a, b alarm) int { return a.at.Compare(b.at) })
	due := 0
	for due < len(c.alarms) && !c.alarms[due].at.After(c.now) {
		due++
	}
	ringing := slices.Clone(c.alarms[:due])
	c.alarms = slices.Clone(c.alarms[due:])
	c.mu.Unlock()
	for _, a := range ringing {
		a.ring()
	}
}
