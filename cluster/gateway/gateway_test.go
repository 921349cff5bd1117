package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/actors/roster"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// grains answers calls as told and remembers them.
type grains struct {
	answer func(fleet.Call) any
	hold   chan struct{} // if set, answers wait for it
	mu     sync.Mutex
	asked  []fleet.Call
}

func (g *grains) Ask(ctx context.Context, calls []fleet.Call) []any {
	g.mu.Lock()
	g.asked = append(g.asked, calls...)
	g.mu.Unlock()
	answers := make([]any, len(calls))
	for i, c := range calls {
		if answers[i] = g.answer(c); g.hold != nil {
			select {
			case <-g.hold:
			case <-ctx.Done():
				answers[i] = fleet.ErrTimeout
			}
		}
	}
	return answers
}

func (g *grains) calls() []fleet.Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]fleet.Call(nil), g.asked...)
}

type picture struct {
	snapshot   *roster.Snapshot
	contact    error
	storeFails bool
}

func (p picture) Snapshot() *roster.Snapshot { return p.snapshot }
func (p picture) Behind() error              { return p.contact }
func (p picture) Contact() error             { return p.contact }
func (p picture) StoreFails() bool           { return p.storeFails }

// of is a roster with sessions in the given states on server a.
func of(states ...messages.SessionState) picture {
	b := roster.NewBuilder()
	b.PutServer(&messages.ServerView{Id: "a", Version: 1})
	for i, state := range states {
		b.PutSession(&messages.SessionView{Id: fmt.Sprint("s-", i), DcvId: fmt.Sprint("dcv-", i), ServerId: "a", State: state, Version: 1})
	}
	return picture{snapshot: b.Snapshot()}
}

// echo answers with the id that was asked.
func echo(c fleet.Call) any {
	if c.Kind == messages.KindServer {
		return &messages.ServerView{Id: c.ID}
	}
	return &messages.SessionView{Id: c.ID}
}

func create(id string) *messages.CreateSession {
	return &messages.CreateSession{SessionId: id, Spec: &messages.SessionSpec{Owner: "ann"}}
}

func TestCreate_AnswersStandWhereTheItemsStood(t *testing.T) {
	t.Parallel()
	g := New(&grains{answer: func(c fleet.Call) any {
		if c.ID == "b" {
			return &messages.Refusal{Code: messages.CodeNoServer}
		}
		return echo(c)
	}}, of(), DefaultConfig())
	out := g.CreateSessions(t.Context(), []*messages.CreateSession{create("a"), create("b"), create("c")})
	require.Equal(t, "a", out[0].GetSession().GetId())
	require.Equal(t, messages.CodeNoServer, out[1].GetRefusal().GetCode())
	require.Equal(t, "c", out[2].GetSession().GetId())
}

// F5: who may not act for the fleet asks no grain, and says so before its clients give up.
func TestChanges_OutOfContactAreRefusedUnasked(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: echo}
	reader := of(messages.SessionState_SESSION_STATE_READY)
	reader.contact = errors.New("nobody confirms the view")
	cfg := DefaultConfig()
	cfg.Patience = 10 * time.Millisecond
	g := New(asked, reader, cfg)
	refused := func(out []*messages.SessionResult) {
		t.Helper()
		require.Equal(t, messages.CodeNotReady, out[0].GetRefusal().GetCode())
		require.Positive(t, out[0].GetRefusal().GetRetryAfterMs())
	}
	refused(g.CreateSessions(t.Context(), []*messages.CreateSession{create("a")}))
	refused(g.DeleteSessions(t.Context(), []*messages.DeleteSession{{SessionId: "s-0"}}))
	refused(g.DeleteSessions(t.Context(), []*messages.DeleteSession{{SessionId: "unknown"}}))
	servers := g.CloseServers(t.Context(), []*messages.CloseServer{{ServerId: "a"}})
	require.Equal(t, messages.CodeNotReady, servers[0].GetRefusal().GetCode())
	require.Empty(t, asked.calls())
}

// Who is out of contact waits for it once.
func TestCreate_WaitsOnceForContact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader := of()
		reader.contact = errors.New("nobody confirms the view")
		began := time.Now()
		out := New(&grains{answer: echo}, reader, DefaultConfig()).CreateSessions(t.Context(), []*messages.CreateSession{create("a")})
		require.Equal(t, messages.CodeNotReady, out[0].GetRefusal().GetCode())
		require.Equal(t, DefaultConfig().Patience, time.Since(began))
	})
}

// F19: what could not be kept is refused at once, not after the store's time limit.
func TestCreate_WhileTheStoreFailsIsRefusedUnasked(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: echo}
	reader := of()
	reader.storeFails = true
	out := New(asked, reader, DefaultConfig()).CreateSessions(t.Context(), []*messages.CreateSession{create("a"), create("b")})
	for _, r := range out {
		require.Equal(t, messages.CodeStoreUnavailable, r.GetRefusal().GetCode())
	}
	require.Empty(t, asked.calls())
}

// F41: a create whose outcome nobody knows is taken back.
func TestCreate_ThatTimesOutIsWithdrawn(t *testing.T) {
	t.Parallel()
	asked := &grains{}
	asked.answer = func(c fleet.Call) any {
		if _, creates := c.Msg.(*messages.CreateSession); creates && c.ID == "b" {
			return fleet.ErrTimeout
		}
		return echo(c)
	}
	g := New(asked, of(), DefaultConfig())
	out := g.CreateSessions(t.Context(), []*messages.CreateSession{create("a"), create("b")})
	require.Equal(t, messages.CodeTimeout, out[1].GetRefusal().GetCode())
	require.Positive(t, out[1].GetRefusal().GetRetryAfterMs())
	calls := asked.calls()
	require.Len(t, calls, 3)
	withdrawn := calls[2].Msg.(*messages.DeleteSession)
	require.Equal(t, "b", withdrawn.GetSessionId())
	require.Equal(t, "ann", withdrawn.GetOwner())
	require.True(t, withdrawn.GetForce())
}

// Promise 1: with an Idempotency-Key the client may have asked again meanwhile, through
// another broker, and have been told that the session is there.
func TestCreate_WithAKeyIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: func(fleet.Call) any { return fleet.ErrTimeout }}
	g := New(asked, of(), DefaultConfig())
	repeatable := create("a")
	repeatable.Repeatable = true
	out := g.CreateSessions(t.Context(), []*messages.CreateSession{repeatable})
	require.Equal(t, messages.CodeTimeout, out[0].GetRefusal().GetCode())
	require.Len(t, asked.calls(), 1)
}

// A change of permissions that is sent twice is known by its id, so that the second copy
// does not undo what came between them (F14).
func TestPermissions_HaveAnIdOfTheirOwn(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: echo}
	g := New(asked, of(messages.SessionState_SESSION_STATE_READY), DefaultConfig())
	g.UpdateSessionPermissions(t.Context(), []*messages.UpdateSessionPermissions{{SessionId: "s-0"}, {SessionId: "s-0"}})
	first := asked.calls()[0].Msg.(*messages.UpdateSessionPermissions).GetRequestId()
	second := asked.calls()[1].Msg.(*messages.UpdateSessionPermissions).GetRequestId()
	require.Len(t, first, 32)
	require.NotEqual(t, first, second)
}

// Ids that never were wake no grain and read no store.
func TestUnknownIDs_AskNobody(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: echo}
	g := New(asked, of(messages.SessionState_SESSION_STATE_READY), DefaultConfig())
	deleted := g.DeleteSessions(t.Context(), []*messages.DeleteSession{{SessionId: "x"}, {SessionId: "s-0"}, {SessionId: "y"}})
	require.Equal(t, messages.CodeSessionNotFound, deleted[0].GetRefusal().GetCode())
	require.Equal(t, "s-0", deleted[1].GetSession().GetId())
	require.Equal(t, messages.CodeSessionNotFound, deleted[2].GetRefusal().GetCode())
	updated := g.UpdateSessionPermissions(t.Context(), []*messages.UpdateSessionPermissions{{SessionId: "x"}})
	require.Equal(t, messages.CodeSessionNotFound, updated[0].GetRefusal().GetCode())
	shots := g.TakeScreenshots(t.Context(), []*messages.TakeScreenshot{{SessionId: "x"}})
	require.Equal(t, messages.CodeSessionNotFound, shots[0].GetRefusal().GetCode())
	opened := g.OpenServers(t.Context(), []*messages.OpenServer{{ServerId: "x"}, {ServerId: "a"}})
	require.Equal(t, messages.CodeServerNotFound, opened[0].GetRefusal().GetCode())
	require.Equal(t, "a", opened[1].GetServer().GetId())
	closed := g.CloseServers(t.Context(), []*messages.CloseServer{{ServerId: "x"}})
	require.Equal(t, messages.CodeServerNotFound, closed[0].GetRefusal().GetCode())
	require.Len(t, asked.calls(), 2, "the one session and the one server that are there")
}

func TestAsk_BeyondTheBoundIsRefusedAtOnceAndTheBoundIsGivenBack(t *testing.T) {
	t.Parallel()
	asked := &grains{answer: echo, hold: make(chan struct{})}
	g := New(asked, of(), Config{Wait: time.Minute, MaxInFlight: 3, Screenshots: 1})
	done := make(chan []*messages.SessionResult)
	go func() { done <- g.CreateSessions(t.Context(), []*messages.CreateSession{create("a"), create("b")}) }()
	require.Eventually(t, func() bool { return len(g.inFlight) == 2 }, 20*time.Second, time.Millisecond)
	busy := g.CreateSessions(t.Context(), []*messages.CreateSession{create("c"), create("d")})
	require.Equal(t, messages.CodeBusy, busy[0].GetRefusal().GetCode())
	require.Equal(t, messages.CodeBusy, busy[1].GetRefusal().GetCode())
	close(asked.hold)
	require.Equal(t, "b", (<-done)[1].GetSession().GetId())
	again := g.CreateSessions(t.Context(), []*messages.CreateSession{create("c"), create("d"), create("e")})
	require.Equal(t, "e", again[2].GetSession().GetId())
	require.Empty(t, g.inFlight)
}

func TestAsk_EndsAtTheBrokersOwnTime(t *testing.T) {
	t.Parallel()
	g := New(&grains{answer: echo, hold: make(chan struct{})}, of(messages.SessionState_SESSION_STATE_READY),
		Config{Wait: time.Millisecond, MaxInFlight: 3, Screenshots: 1})
	out := g.DeleteSessions(context.Background(), []*messages.DeleteSession{{SessionId: "s-0"}})
	require.Equal(t, messages.CodeTimeout, out[0].GetRefusal().GetCode())
}

// F45: only so many pictures are on their way at once, and each fails by itself.
func TestScreenshots_AFewAtATimeEachByItself(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	g := New(&grains{answer: func(c fleet.Call) any {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		shot := c.Msg.(*messages.ServerCommand).GetScreenshot()
		if shot.GetSessionId() == "dcv-1" {
			return &messages.ScreenshotResponse{Result: &messages.Result{Code: messages.AgentFailed, Error: strings.Repeat("é", 1000)}}
		}
		return &messages.ScreenshotResponse{Result: &messages.Result{Success: true}, Images: []*messages.ScreenshotImage{{Data: []byte(shot.GetSessionId())}}}
	}}, of(messages.SessionState_SESSION_STATE_READY, messages.SessionState_SESSION_STATE_READY, messages.SessionState_SESSION_STATE_CREATING,
		messages.SessionState_SESSION_STATE_DELETED, messages.SessionState_SESSION_STATE_READY), Config{Wait: time.Minute, MaxInFlight: 10, Screenshots: 1})
	var in []*messages.TakeScreenshot
	for i := range 5 {
		in = append(in, &messages.TakeScreenshot{SessionId: fmt.Sprint("s-", i), MaxWidth: 1 << 40})
	}
	out := g.TakeScreenshots(t.Context(), in)
	require.Equal(t, "dcv-0", string(out[0].GetScreenshot().GetImages()[0].GetData()))
	require.Equal(t, messages.CodeAgentFailed, out[1].GetRefusal().GetCode())
	require.LessOrEqual(t, len(out[1].GetRefusal().GetDetail()), 300)
	require.Equal(t, messages.CodeSessionNotReady, out[2].GetRefusal().GetCode())
	require.Equal(t, messages.CodeSessionNotFound, out[3].GetRefusal().GetCode())
	require.Equal(t, "dcv-4", string(out[4].GetScreenshot().GetImages()[0].GetData()))
	require.EqualValues(t, 1, most.Load())
}

func TestScreenshots_WhoCannotWaitIsTold(t *testing.T) {
	t.Parallel()
	g := New(&grains{answer: echo}, of(messages.SessionState_SESSION_STATE_READY), Config{Wait: time.Minute, MaxInFlight: 1, Screenshots: 1})
	g.screenshots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, messages.CodeBusy, g.TakeScreenshots(ctx, []*messages.TakeScreenshot{{SessionId: "s-0"}})[0].GetRefusal().GetCode())
}

// Whatever comes back, the caller gets an outcome with a code of ours.
func TestResults_EveryAnswerIsAnOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer any
		code   string
	}{
		{&messages.SessionView{Id: "a"}, ""},
		{&messages.SetPermissionsResponse{Result: &messages.Result{Success: true}}, ""},
		{&messages.SetPermissionsResponse{Result: &messages.Result{Code: messages.AgentNotFound}}, messages.CodeSessionNotFound},
		{&messages.SetPermissionsResponse{Result: &messages.Result{Code: messages.AgentTimeout}}, messages.CodeAgentTimeout},
		{&messages.SetPermissionsResponse{Result: &messages.Result{Code: messages.AgentBadFile}}, messages.CodeAgentFailed},
		{&messages.SetPermissionsResponse{}, messages.CodeAgentFailed},
		{&messages.ScreenshotResponse{}, messages.CodeAgentFailed},
		{&messages.Refusal{Code: messages.CodeBusy}, messages.CodeBusy},
		{fleet.ErrTimeout, messages.CodeTimeout},
		{errors.New("other"), messages.CodeInternal},
		{"nonsense", messages.CodeInternal},
		{nil, messages.CodeInternal},
	} {
		result := sessionResult(c.answer)
		require.Equal(t, c.code, result.GetRefusal().GetCode(), "%T", c.answer)
		require.Equal(t, c.code == "", result.GetSession() != nil, "%T", c.answer)
	}
	require.Equal(t, messages.CodeTimeout, serverResult(fleet.ErrTimeout).GetRefusal().GetCode())
}
