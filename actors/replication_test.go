package actors

import (
	"slices"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// otherRoster is another broker's roster: what is sent to it comes out of got.
type otherRoster struct {
	w    *world
	got  chan proto.Message
	kept []proto.Message // that nobody has awaited yet
}

const (
	otherAddress = "other.test:1"
	deadAddress  = "dead.test:1" // of a broker that nobody hears from
)

// newOther makes a broker the world's only company. All addresses are resolved before
// the roster speaks to any of them: the library takes no lock around its resolvers.
func newOther(w *world) *otherRoster {
	o := &otherRoster{w: w, got: make(chan proto.Message, 1000)}
	w.deps.System.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		if pid.GetAddress() == deadAddress {
			return silent{}, true
		}
		return o, pid.GetAddress() == otherAddress
	})
	w.deps.Roster.SetOthers(&RostersChanged{Self: "self", Others: map[string]string{"other": otherAddress}})
	w.rosterHandled() // it has told the clock, too
	return o
}

// rosterHandled waits until the roster has done what it was told before.
func (w *world) rosterHandled() {
	w.t.Helper()
	require.NoError(w.t, w.deps.System.Root.RequestFuture(w.deps.Roster.pid, &messages.RosterPull{From: "nobody"}, dropTime).Wait())
}

// silent takes what is sent to it, and says nothing.
type silent struct{}

func (silent) SendUserMessage(*actor.PID, any)   {}
func (silent) SendSystemMessage(*actor.PID, any) {}
func (silent) Stop(*actor.PID)                   {}

func (o *otherRoster) SendUserMessage(_ *actor.PID, message any) {
	_, msg, _ := actor.UnwrapEnvelope(message)
	o.got <- msg.(proto.Message)
}
func (o *otherRoster) SendSystemMessage(*actor.PID, any) {}
func (o *otherRoster) Stop(*actor.PID)                   {}

// tell sends in the other broker's name and returns when it was taken.
func (o *otherRoster) tell(msg proto.Message) {
	o.w.t.Helper()
	sender := actor.NewPID(otherAddress, RosterName)
	o.w.deps.System.Root.RequestWithCustomSender(o.w.deps.Roster.pid, msg, sender)
	o.w.deps.System.Root.RequestWithCustomSender(o.w.deps.Roster.pid, &messages.RosterPull{From: "other"}, sender)
	awaitGot[*messages.RosterPage](o)
}

func awaitGot[M proto.Message](o *otherRoster) M {
	o.w.t.Helper()
	end := time.After(20 * time.Second)
	for {
		for i, msg := range o.kept {
			if m, ok := msg.(M); ok {
				o.kept = slices.Delete(o.kept, i, i+1)
				return m
			}
		}
		select {
		case msg := <-o.got:
			o.kept = append(o.kept, msg)
		case <-end:
			var none M
			o.w.t.Fatalf("waited in vain for a %T", none)
			return none
		}
	}
}

// beat moves the clock to the next heartbeat and returns it.
func (o *otherRoster) beat() uint64 {
	o.w.t.Helper()
	before := o.latest()
	o.w.clock.Advance(heartbeat)
	for {
		if m := awaitGot[*messages.RosterUpdate](o); m.GetSequence() > before {
			return m.GetSequence()
		}
	}
}

// latest is the latest update that the other one has got.
func (o *otherRoster) latest() (sequence uint64) {
	for {
		select {
		case msg := <-o.got:
			o.kept = append(o.kept, msg)
			continue
		default:
		}
		for _, msg := range o.kept {
			if m, ok := msg.(*messages.RosterUpdate); ok {
				sequence = max(sequence, m.GetSequence())
			}
		}
		return sequence
	}
}

// sync has the world's roster get all that the other one has, up to an update.
func (o *otherRoster) sync(published uint64) {
	o.w.t.Helper()
	o.tell(&messages.RosterPage{From: "other", Sequence: published, Question: awaitGot[*messages.RosterPull](o).GetQuestion(), Last: true})
}

// Promise 2: a heartbeat that the network held back does not make a broker count as up to
// date; only what was acknowledged since it was sent does.
func TestRoster_IsUpToDateByWhatItsOwnUpdatesProve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	sent := o.beat()
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind, "nothing was acknowledged yet")
	o.tell(&messages.RosterAck{From: "other", Sequence: sent, Published: 7})
	require.NoError(t, w.deps.Roster.Behind())
	late := o.beat()
	w.clock.Advance(staleAfter + heartbeat)
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind)
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 8})
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind, "nobody knows when this was sent")
	o.tell(&messages.RosterAck{From: "other", Sequence: late, Published: 8})
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind, "the other one may have answered without us since")
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 8})
	require.NoError(t, w.deps.Roster.Behind())
}

// Promise 3: an update was lost with its connection, and what came on the next one is
// an acknowledgement. The broker is behind until it has asked for everything.
func TestRoster_IsBehindWhileAnUpdateIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	o.sync(7)
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 7})
	require.NoError(t, w.deps.Roster.Behind())
	w.clock.Advance(staleAfter + heartbeat)
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 8})
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind, "update 8 has not come")
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 9})
	o.sync(9)
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind)
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 9})
	require.NoError(t, w.deps.Roster.Behind())
}

// Promise 3: a broker died whose last updates may not have come here. Before the store
// was asked nobody is told that something is absent, also not by the last broker.
func TestRoster_IsBehindWhileTheLastAnswersOfTheDeadAreInDoubt(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]time.Duration{"heard of just now": 0, "silent before it died": staleAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			asked := make(chan func(), 1)
			w.deps.Doubt = func(id string, _ bool, complete, settled func()) {
				if id == "other" {
					asked <- func() { complete(); settled() }
				}
			}
			o := newOther(w)
			o.sync(7)
			o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 7})
			w.clock.Advance(silent + heartbeat)
			w.deps.Roster.SetOthers(&RostersChanged{Self: "self"})
			o.tell(&messages.RosterAck{From: "other"}) // it was taken
			if silent == 0 {
				require.Empty(t, asked)
				require.NoError(t, w.deps.Roster.Behind())
				return
			}
			settled := <-asked
			require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind)
			settled()
			await(t, "the roster to be up to date", w.deps.Roster.Behind)
		})
	}
}

// Promise 3: a broker that waited long before it was let in forgets what was forgotten
// meanwhile, but nothing that it was told since.
func TestRoster_DropsOnlyWhatItKnowsFromTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deps.Roster.tell(&publishSession{view: &messages.SessionView{Id: "stored", Version: Loaded}})
	w.deps.Roster.tell(&publishSession{view: &messages.SessionView{Id: "told", Version: Loaded + 1}})
	require.NoError(t, w.deps.Roster.DropLoaded([]string{"stored", "told", "never there"}))
	require.Nil(t, w.view("stored"))
	require.NotNil(t, w.view("told"))
}

// Two brokers read the store at different times, and the grain that changed the session in
// between died with its broker: the later reading is right, whoever hears it when.
func TestRoster_OfTwoReadingsOfTheStoreTheLaterCounts(t *testing.T) {
	t.Parallel()
	builder := roster.NewBuilder()
	before := &messages.SessionView{Id: "s", Version: LoadedAs(7), State: messages.SessionState_SESSION_STATE_READY}
	after := &messages.SessionView{Id: "s", Version: LoadedAs(9), State: messages.SessionState_SESSION_STATE_DELETED}
	require.True(t, builder.PutSession(before))
	require.True(t, builder.PutSession(after))
	require.False(t, builder.PutSession(before))
	for _, stored := range []int64{0, 1, 7, 1 << 62} { // a store may count as it likes
		require.LessOrEqual(t, LoadedAs(stored), int64(Loaded))
		require.Positive(t, LoadedAs(stored))
	}
	require.Greater(t, newWorld(t).deps.stampAfter(0), int64(Loaded), "what grains publish is newer than any reading")
}

// Promise 3: an update is lost while a broker is still being asked for all that it has. The
// page that was on its way is older than that, also if it is the last one.
func TestRoster_IsBehindWhenAnUpdateWasLostWhileItAskedForEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	first := awaitGot[*messages.RosterPull](o).GetQuestion()
	o.tell(&messages.RosterPage{From: "other", Sequence: 7, Question: first, Sessions: []*messages.SessionView{viewOf("b", 5)}})
	second := awaitGot[*messages.RosterPull](o)
	require.Equal(t, "b", second.GetAfterSession())
	o.tell(&messages.RosterUpdate{From: "other", Sequence: 9}) // 8 had session a, which is on the first page
	again := awaitGot[*messages.RosterPull](o)
	require.Empty(t, again.GetAfterSession())
	o.tell(&messages.RosterPage{From: "other", Sequence: 7, Question: second.GetQuestion(), Last: true})
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 9})
	require.ErrorIs(t, w.deps.Roster.Behind(), ErrBehind)
	o.tell(&messages.RosterPage{From: "other", Sequence: 9, Question: again.GetQuestion(), Last: true,
		Sessions: []*messages.SessionView{viewOf("a", 5), viewOf("b", 5)}})
	o.tell(&messages.RosterAck{From: "other", Sequence: o.beat(), Published: 9})
	require.NoError(t, w.deps.Roster.Behind())
	require.NotNil(t, o.shows("a"))
}

// A question for a page that was put twice, because its answer took long, does not double
// the rest.
func TestRoster_AsksOnceForEachPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOther(w)
	question := awaitGot[*messages.RosterPull](o).GetQuestion()
	w.clock.Advance(3 * heartbeat)
	require.Equal(t, question, awaitGot[*messages.RosterPull](o).GetQuestion())
	for range 2 {
		o.tell(&messages.RosterPage{From: "other", Sequence: 7, Question: question, Sessions: []*messages.SessionView{viewOf("b", 5)}})
	}
	require.Greater(t, awaitGot[*messages.RosterPull](o).GetQuestion(), question)
	o.latest()
	for _, m := range o.kept {
		_, pull := m.(*messages.RosterPull)
		require.False(t, pull, "%v", m)
	}
}
