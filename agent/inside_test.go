package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// F16: only a wall clock that ran ahead means sleep; setting it back does not.
func TestSuspendDetector(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		wall, steady time.Duration
		slept        bool
	}{
		{4 * time.Second, 4 * time.Second, false},
		{9 * time.Second, 4 * time.Second, false},
		{time.Hour, 4 * time.Second, true},
		{-time.Hour, 4 * time.Second, false},
		{time.Hour, time.Hour, false}, // the process was starved, not suspended
	} {
		var d suspendDetector
		require.False(t, d.slept(start, 0), "the first look knows nothing")
		require.Equal(t, c.slept, d.slept(start.Add(c.wall), c.steady), "%v", c)
	}
}

func TestLiveness_WantsConfirmations(t *testing.T) {
	t.Parallel()
	v := liveness{patience: 10 * time.Second}
	at := func(s time.Duration) error { return v.look(time.Unix(0, 0).Add(s), s) }
	require.NoError(t, at(0))
	v.reported(time.Second)
	v.reported(9 * time.Second)
	require.NoError(t, at(11*time.Second))
	require.ErrorIs(t, at(12*time.Second), errNoAck)
	v.acked()
	require.NoError(t, at(13*time.Second))
}

// F15, C2: full jitter within bounds that double, and never beyond the limit.
func TestBackoff_IsJitteredAndBounded(t *testing.T) {
	t.Parallel()
	var bounds []time.Duration
	b := newBackoff(500 * time.Millisecond)
	b.random = func(n int64) int64 { bounds = append(bounds, time.Duration(n)); return n - 1 }
	for range 6 {
		require.Less(t, b.next(4*time.Second), 4*time.Second)
	}
	const s = time.Second
	require.Equal(t, []time.Duration{s / 2, s, 2 * s, 4 * s, 4 * s, 4 * s}, bounds)
	b.reset()
	b.next(4 * time.Second)
	require.Equal(t, s/2, bounds[6])
	d := Timing{}.withDefaults()
	require.Less(t, d.RetryLimit+d.Dial, 15*time.Second, "C2: back within 15 s of a broker's return")
	require.Less(t, missedBeats*d.Beat+d.RetryBase, 15*time.Second, "C2: a silent broker is left within 15 s")
}

// Whatever comes in whatever order, the gate admits no more than the limits.
func TestGate_NeverOverCommits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			MaxVirtual: rapid.Int32Range(-1, 4).Draw(t, "virtual"),
			MaxPerUser: rapid.Int32Range(-1, 3).Draw(t, "per user"),
			MaxConsole: rapid.Int32Range(0, 1).Draw(t, "console"),
		}
		g := newGate(limits)
		now := time.Unix(0, 0)
		g.now = func() time.Time { return now }
		present := map[string]*messages.DcvSession{}
		pending := map[string]*messages.CreateSessionRequest{}
		list := func(context.Context) ([]*messages.DcvSession, error) {
			var all []*messages.DcvSession
			for _, s := range present {
				all = append(all, s)
			}
			return all, nil
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := fmt.Sprint("s-", rapid.IntRange(0, 9).Draw(t, "id"))
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1: // a create arrives; the executor runs one per session
				if pending[id] != nil {
					continue
				}
				spec := &messages.CreateSessionRequest{
					SessionId: id,
					Owner:     rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "owner"),
					Type:      rapid.SampledFrom([]string{typeConsole, typeVirtual}).Draw(t, "type"),
				}
				there, err := g.admit(t.Context(), spec, list)
				if err == nil && there == nil {
					pending[id] = spec
				} else if err != nil && !errors.Is(err, driver.ErrLimit) {
					t.Fatal(err)
				}
			case 2: // a create succeeds, visible before it is settled
				if spec := pending[id]; spec != nil {
					present[id] = &messages.DcvSession{Id: id, Owner: spec.Owner, Type: spec.Type}
					g.settle(id, true)
					delete(pending, id)
				}
			case 3: // a create fails
				if pending[id] != nil {
					g.settle(id, true)
					delete(pending, id)
				}
			case 4: // a session ends
				delete(present, id)
			}
			check(t, limits, present, pending)
		}
	})
}

func check(t *rapid.T, limits Limits, present map[string]*messages.DcvSession, pending map[string]*messages.CreateSessionRequest) {
	count := map[string]int32{}
	for id, s := range present {
		if pending[id] == nil {
			count[s.Type]++
			count[s.Type+s.Owner]++
		}
	}
	for _, s := range pending {
		count[s.Type]++
		count[s.Type+s.Owner]++
	}
	over := func(n, limit int32) bool { return limit >= 0 && n > limit }
	if over(count[typeVirtual], limits.MaxVirtual) || over(count[typeConsole], limits.MaxConsole) ||
		over(count[typeVirtual+"alice"], limits.MaxPerUser) || over(count[typeVirtual+"bob"], limits.MaxPerUser) {
		t.Fatalf("over-committed: %v of %+v", count, limits)
	}
}

// A create whose outcome is unknown keeps its slot for a while, and only then
// gives it back.
func TestGate_DoubtKeepsTheSlotForAWhile(t *testing.T) {
	t.Parallel()
	g := newGate(Limits{MaxVirtual: 1, MaxPerUser: -1})
	now := time.Unix(0, 0)
	g.now = func() time.Time { return now }
	none := func(context.Context) ([]*messages.DcvSession, error) { return nil, nil }
	spec := func(id string) *messages.CreateSessionRequest {
		return &messages.CreateSessionRequest{SessionId: id, Owner: "a", Type: typeVirtual}
	}
	_, err := g.admit(t.Context(), spec("s-1"), none)
	require.NoError(t, err)
	g.settle("s-1", false)
	_, err = g.admit(t.Context(), spec("s-2"), none)
	require.ErrorIs(t, err, driver.ErrLimit)
	_, err = g.admit(t.Context(), spec("s-1"), none)
	require.NoError(t, err, "its own slot does not stand in its way")
	g.settle("s-1", false)
	now = now.Add(doubtful + time.Second)
	_, err = g.admit(t.Context(), spec("s-2"), none)
	require.NoError(t, err)
}

// script is an executor's other side, under the control of a test.
type script struct {
	mu      sync.Mutex
	sent    []*messages.AgentFrame
	begun   chan string
	release chan struct{}
}

func (s *script) perform(ctx context.Context, c *messages.AgentFrame) *messages.AgentFrame {
	id := agentproto.RequestID(c)
	if id == "panic" {
		panic("poison")
	}
	s.begun <- id
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return s.answer(c, nil)
}

func (s *script) answer(c *messages.AgentFrame, err error) *messages.AgentFrame {
	return reply(c, err, 0)
}

func (s *script) send(f *messages.AgentFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, f)
}

func (s *script) answers(t *testing.T, n int) []*messages.AgentFrame {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.sent) >= n
	}, 30*time.Second, time.Millisecond, "%d answers must come", n)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func remove(request, session string) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionRequest{
		DeleteSessionRequest: &messages.DeleteSessionRequest{RequestId: request, SessionId: session}}}
}

func newScript() (*script, *executor) {
	s := &script{begun: make(chan string, 10_000), release: make(chan struct{})}
	return s, newExecutor(s, slog.New(slog.DiscardHandler))
}

// F26: a command that panics fails by itself; the agent and its session go on.
func TestExecutor_SurvivesAPanic(t *testing.T) {
	t.Parallel()
	s, e := newScript()
	close(s.release)
	e.submit(t.Context(), remove("panic", "s-1"))
	e.submit(t.Context(), remove("after", "s-1"))
	sent := s.answers(t, 2)
	require.Equal(t, messages.AgentFailed, sent[0].GetDeleteSessionResponse().GetResult().GetCode())
	require.True(t, sent[1].GetDeleteSessionResponse().GetResult().GetSuccess())
	e.wait()
}

func TestExecutor_IsBounded(t *testing.T) {
	t.Parallel()
	s, e := newScript()
	for i := range maxLanes + maxWaiting {
		e.submit(t.Context(), remove(fmt.Sprint("r-", i), fmt.Sprint("s-", i)))
	}
	for range maxLanes {
		<-s.begun
	}
	for i := range maxLanes { // those that began made room
		e.submit(t.Context(), remove(fmt.Sprint("x-", i), fmt.Sprint("y-", i)))
	}
	e.mu.Lock()
	active, waiting := e.active, e.waiting
	e.mu.Unlock()
	require.Equal(t, maxLanes, active)
	require.LessOrEqual(t, waiting, maxWaiting)
	e.submit(t.Context(), remove("too-much", "z"))
	refused := s.answers(t, 1)
	last := refused[len(refused)-1].GetDeleteSessionResponse()
	require.Equal(t, "too-much", last.GetRequestId())
	require.Contains(t, last.GetResult().GetError(), "waiting already")
	close(s.release)
	e.wait()
	require.Empty(t, e.lanes)
	require.Zero(t, e.waiting)
	require.LessOrEqual(t, len(e.answers.byID), rememberedAnswers)
}

func TestExecutor_StopsWithItsContext(t *testing.T) {
	t.Parallel()
	s, e := newScript()
	ctx, cancel := context.WithCancel(t.Context())
	e.submit(ctx, remove("r-1", "s-1"))
	e.submit(ctx, remove("r-2", "s-1"))
	<-s.begun
	cancel()
	e.wait()
	require.Len(t, s.answers(t, 1), 1, "what waited is dropped")
}

// Every frame a broker could send, whole or broken, through the whole agent.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		`{"createSessionRequest":{"requestId":"r","sessionId":"s","owner":"a","type":"virtual","permissionsFile":"eA=="}}`,
		`{"deleteSessionRequest":{"requestId":"r","sessionId":"s"}}`,
		`{"screenshotRequest":{"requestId":"r","sessionId":"s","maxWidth":-1,"format":"png"}}`,
		`{"describeRequest":{"requestId":"r"}}`,
		`{"sessionsUpdateResponse":{"requestId":"r","result":{"success":true}}}`,
		`{"helloResponse":{}}`, `{"x":{}}`, `[[[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := New(Config{
			Brokers: []string{"b:1"}, Transport: NewTransport(nil, nil), Driver: fake.New(nil),
			Host: StaticHost{Known: &messages.ServerFacts{}}, Identity: identity.InMemory("m", "b"),
			Limits: Limits{MaxVirtual: 1, MaxPerUser: 1, MaxConsole: 1}, Logger: slog.New(slog.NewTextHandler(discard{}, nil)),
		})
		require.NoError(t, err)
		l := &link{agent: a, out: make(chan *messages.AgentFrame, outgoing), acked: make(chan struct{}, 1), ended: make(chan struct{}), serverID: a.serverID(nil)}
		a.current.Store(l)
		l.receive(t.Context(), data)
		a.work.wait()
		close(l.out)
		for frame := range l.out {
			_, err := agentproto.Encode(frame)
			require.NoError(t, err)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// F6: three beats without an answer are enough, unless much has to go over a slow line
// before the ping does.
func TestLiveness_CountsAnswersOnly(t *testing.T) {
	t.Parallel()
	const beat = 4 * time.Second
	v := liveness{patience: time.Hour, pong: 2*beat - beat/2, crowded: 30 * time.Second}
	wall := time.Now()
	beats := func(from, to int, answered bool) error {
		for i := from; i <= to; i++ {
			now := time.Duration(i) * beat
			if answered {
				v.ponged(now - time.Second)
			}
			if err := v.look(wall.Add(now), now); err != nil {
				return err
			}
			v.pinged(now)
		}
		return nil
	}
	require.NoError(t, beats(0, 10, true))
	require.NoError(t, beats(11, 11, false), "the first that is missed")
	require.ErrorIs(t, beats(12, 12, false), errDeaf, "two later")
	v.asking = false
	require.NoError(t, beats(20, 20, true))
	v.moved(1 << 20)
	require.NoError(t, beats(21, 27, false), "the picture takes its time")
	require.ErrorIs(t, beats(28, 28, false), errDeaf)
}
