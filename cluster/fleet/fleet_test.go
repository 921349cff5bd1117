package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/internal/certs"
	"opensessionmanager/messages"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the library counts dead letters for a second, and sleeps two after it failed to connect
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/remote.(*endpointWriter).initialize"),
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
}

// echo is a grain that answers, and retires when it has answered often enough.
type echo struct {
	fleet    *Fleet
	made     *atomic.Int64
	kind, id string
	self     *actor.PID
	answers  int
	most     int // 0 = never retires
	retiring bool
}

func (e *echo) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *cluster.ClusterInit:
		e.kind, e.id, e.self = m.Identity.GetKind(), m.Identity.GetIdentity(), ctx.Self()
		e.made.Add(1)
	case *messages.DeleteSession:
		if e.retiring {
			e.fleet.Tell(e.kind, e.id, m, ctx.Sender())
			return
		}
		e.answers++
		ctx.Respond(&messages.SessionClosed{SessionId: m.GetSessionId(), ServerId: e.id})
		if e.answers == e.most {
			e.retire()
		}
	case *messages.Passivate:
		if !e.retiring {
			e.retire()
		}
	case *messages.UpdateSessionPermissions: // as if the first were lost where it asked on
		if e.answers++; e.answers > 1 {
			ctx.Respond(&messages.SessionClosed{SessionId: m.GetSessionId(), ServerId: e.id})
		}
	case *messages.CloseServer:
		ctx.Stop(ctx.Self())
	}
}

func (e *echo) retire() {
	e.retiring = true
	e.fleet.Retire(e.kind, e.id, e.self)
}

type fixture struct {
	*Fleet
	ca   *certs.Authority
	made atomic.Int64
	// making, if set, is called by the activator before it makes a session grain.
	making func()
}

// active is the grain that lives here.
func (f *fixture) active(kind, id string) (*actor.PID, bool) {
	found, ok := f.lookup.grains.Load(key{kind, id})
	if !ok {
		return nil, false
	}
	return found.(*activation).pid, true
}

// start is a fleet of one with echo grains of the kinds session and server.
func start(t testing.TB, most int, change ...func(*Config)) *fixture {
	t.Helper()
	f := prepare(t, most, change...)
	require.NoError(t, f.Join(t.Context()))
	return f
}

// prepare is one that has not joined.
func prepare(t testing.TB, most int, change ...func(*Config)) *fixture {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	f := &fixture{}
	var err error
	f.ca, err = certs.Ensure(certs.Config{Dir: t.TempDir(), Logger: logger})
	require.NoError(t, err)
	peer, err := certs.Follow(f.ca.PeerCertificate, logger)
	require.NoError(t, err)
	cfg := Config{Name: "test", Logger: logger, ServerTLS: f.ca.PeerServer(peer), ClientTLS: f.ca.PeerClient(peer), Host: "127.0.0.1"}
	for _, c := range change {
		c(&cfg)
	}
	props := actor.PropsFromProducer(func() actor.Actor { return &echo{fleet: f.Fleet, made: &f.made, most: most} })
	sessions := actor.PropsFromProducer(func() actor.Actor {
		if f.making != nil {
			f.making()
		}
		return &echo{fleet: f.Fleet, made: &f.made, most: most}
	})
	f.Fleet, err = Start(NewSystem(logger), []*cluster.Kind{
		cluster.NewKind(messages.KindSession, sessions), cluster.NewKind(messages.KindServer, props)}, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { f.Stop(context.Background()) })
	return f
}

func (f *fixture) ask(t testing.TB, ids ...string) []any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	calls := make([]Call, len(ids))
	for i, id := range ids {
		calls[i] = Call{Kind: messages.KindSession, ID: id, Msg: &messages.DeleteSession{SessionId: fmt.Sprint(id, " ", i)}}
	}
	return f.Ask(ctx, calls)
}

func TestAsk_AnswersInTheOrderOfTheCalls(t *testing.T) {
	f := start(t, 0)
	for range 2 { // the second time the grains are there
		for i, answer := range f.ask(t, "a", "b", "a", "c") {
			require.True(t, proto.Equal(&messages.SessionClosed{SessionId: fmt.Sprint([]string{"a", "b", "a", "c"}[i], " ", i),
				ServerId: []string{"a", "b", "a", "c"}[i]}, answer.(proto.Message)), "%v", answer)
		}
	}
	require.EqualValues(t, 3, f.made.Load(), "one activation each")
}

func TestAsk_WithoutAnAnswerEndsAtTheDeadline(t *testing.T) {
	f := start(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	answers := f.Ask(ctx, []Call{{Kind: messages.KindSession, ID: "a", Msg: &messages.Wake{}}})
	require.ErrorIs(t, answers[0].(error), ErrTimeout)
	answers = f.Ask(ctx, []Call{{Kind: messages.KindSession, ID: "a", Msg: &messages.Wake{}}})
	require.ErrorIs(t, answers[0].(error), ErrTimeout, "a deadline that has passed")
}

func TestAsk_UnknownKindIsAnAnswerNotATimeout(t *testing.T) {
	f := start(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	answer := f.Ask(ctx, []Call{{Kind: "nothing", ID: "a", Msg: &messages.Wake{}}})[0]
	require.Equal(t, messages.CodeNotReady, answer.(*messages.Refusal).GetCode())
}

// A grain that stopped is made again; a message that went to the dead one is repeated.
func TestAsk_GrainThatEndedIsMadeAgain(t *testing.T) {
	f := start(t, 0)
	f.ask(t, "a")
	for i := range 20 {
		f.Tell(messages.KindSession, "a", &messages.CloseServer{}, nil)
		await(t, "the grain to be forgotten", func() bool { _, there := f.active(messages.KindSession, "a"); return !there })
		require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
		require.EqualValues(t, i+2, f.made.Load())
	}
}

// Every question is answered once although its grain retires all the time.
func TestRetire_LosesNoMessage(t *testing.T) {
	f := start(t, 3)
	const askers, questions, grains = 16, 300, 4
	var all sync.WaitGroup
	var lost atomic.Int64
	for a := range askers {
		all.Go(func() {
			for q := range questions {
				if _, ok := f.ask(t, fmt.Sprint("grain", (a+q)%grains))[0].(*messages.SessionClosed); !ok {
					lost.Add(1)
				}
			}
		})
	}
	stop := make(chan struct{})
	var sweep sync.WaitGroup
	sweep.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.lookup.passivateIdle(time.Now().Add(time.Hour))
			}
		}
	})
	all.Wait()
	close(stop)
	sweep.Wait()
	require.Zero(t, lost.Load())
	require.Greater(t, f.made.Load(), int64(askers*questions/3/2), "they did retire")
}

func TestSweep_GivesBackIdleSessionsOnly(t *testing.T) {
	f := start(t, 0)
	f.ask(t, "a", "b")
	f.Tell(messages.KindServer, "s", &messages.Wake{}, nil)
	await(t, "three grains", func() bool { return f.made.Load() == 3 })
	f.lookup.passivateIdle(time.Now().Add(-time.Minute))
	f.ask(t, "a")
	require.EqualValues(t, 3, f.made.Load(), "they were used just now")
	f.lookup.passivateIdle(time.Now().Add(time.Minute))
	await(t, "both sessions to be gone", func() bool {
		_, a := f.active(messages.KindSession, "a")
		_, b := f.active(messages.KindSession, "b")
		return !a && !b
	})
	_, there := f.active(messages.KindServer, "s")
	require.True(t, there, "a server holds what only it knows")
}

// The library's own way in finds the same grains.
func TestLookup_GetMakesTheGrainOnce(t *testing.T) {
	f := start(t, 0)
	identity := cluster.NewClusterIdentity("a", messages.KindSession)
	pid := f.lookup.Get(identity)
	require.NotNil(t, pid)
	require.True(t, pid.Equal(f.lookup.Get(identity)))
	f.lookup.RemovePid(identity, pid)
	await(t, "another one", func() bool { again := f.lookup.Get(identity); return again != nil && !again.Equal(pid) })
	require.Nil(t, f.lookup.Get(cluster.NewClusterIdentity("a", "nothing")))
}

func TestStart_WithoutTLSIsRefused(t *testing.T) {
	_, err := Start(NewSystem(slog.New(slog.DiscardHandler)), nil, Config{Logger: slog.New(slog.DiscardHandler), ServerTLS: &tls.Config{MinVersion: tls.VersionTLS13}})
	require.Error(t, err)
}

func TestStart_AgainAfterStop(t *testing.T) {
	for range 2 {
		f := start(t, 0, func(c *Config) { c.Idle = time.Minute })
		require.IsType(t, &messages.SessionClosed{}, f.ask(t, "a")[0])
		require.NotEmpty(t, f.Address())
	}
}

// await polls until it holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 20*time.Second, time.Millisecond, what)
}
