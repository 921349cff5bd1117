package actors

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// wire is a bare socket: what the broker sends is kept.
type wire struct {
	sent   chan *messages.AgentFrame
	closed chan string
}

func (s *wire) Send(f *messages.AgentFrame) error { s.sent <- f; return nil }
func (s *wire) Close(_ int, reason string)        { s.closed <- reason }
func (s *wire) RemoteAddr() string                { return "test" }

func (w *world) wire() (*wire, *Link) {
	s := &wire{make(chan *messages.AgentFrame, 1000), make(chan string, 10)}
	link, err := NewLinks(w.deps).Attach(s, "")
	require.NoError(w.t, err)
	w.t.Cleanup(func() { link.Closed("the test is over") })
	return s, link
}

func helloFrame(change func(*messages.HelloRequest)) *messages.AgentFrame {
	hello := &messages.HelloRequest{RequestId: "1", ProtocolVersion: &messages.ProtocolVersion{Major: 1}, ServerId: "a", MachineId: "m",
		BootId: "b", InstanceId: "i", Facts: &messages.ServerFacts{Hostname: "a"}, Load: &messages.ServerLoad{DcvHealthy: true}}
	change(hello)
	return &messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: hello}}
}

func reportFrame() *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: &messages.SessionsUpdateRequest{RequestId: "2"}}}
}

// F46: minors may differ, majors may not. Whoever is refused is told why.
func TestHello_IsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*messages.HelloRequest)
		code   string
	}{
		"same version":    {func(*messages.HelloRequest) {}, ""},
		"newer minor":     {func(h *messages.HelloRequest) { h.ProtocolVersion.Minor = 2 }, ""},
		"other major":     {func(h *messages.HelloRequest) { h.ProtocolVersion.Major = 2 }, messages.AgentVersion},
		"three minor":     {func(h *messages.HelloRequest) { h.ProtocolVersion.Minor = 3 }, messages.AgentVersion},
		"no version":      {func(h *messages.HelloRequest) { h.ProtocolVersion = nil }, messages.AgentVersion},
		"no server id":    {func(h *messages.HelloRequest) { h.ServerId = "" }, messages.AgentBadRequest},
		"long server id":  {func(h *messages.HelloRequest) { h.ServerId = strings.Repeat("x", 381) }, messages.AgentBadRequest},
		"odd server id":   {func(h *messages.HelloRequest) { h.ServerId = strings.Repeat("x", 200) + "\n" }, messages.AgentBadRequest},
		"no machine id":   {func(h *messages.HelloRequest) { h.MachineId = "" }, messages.AgentBadRequest},
		"no instance id":  {func(h *messages.HelloRequest) { h.InstanceId = "" }, messages.AgentBadRequest},
		"too large facts": {func(h *messages.HelloRequest) { h.Facts.Tags = map[string]string{"x": strings.Repeat("y", maxFacts)} }, messages.AgentBadRequest},
	} {
		w := newWorld(t)
		s, link := w.wire()
		link.Received(helloFrame(c.change))
		welcome := (<-s.sent).GetHelloResponse()
		require.Equal(t, c.code, welcome.GetResult().GetCode(), name)
		require.Equal(t, c.code == "", welcome.GetResult().GetSuccess(), name)
		if c.code != "" {
			<-s.closed
			require.Nil(t, w.server("a"), name)
		}
	}
}

func TestLink_SpeaksOnlyAfterHelloAndOnlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, link := w.wire()
	link.Received(reportFrame())
	require.Contains(t, <-s.closed, "helloRequest")
	s, link = w.wire()
	link.Received(helloFrame(func(*messages.HelloRequest) {}))
	<-s.sent
	link.Received(helloFrame(func(h *messages.HelloRequest) { h.ServerId = "b" }))
	require.Contains(t, <-s.closed, "already")
	require.Nil(t, w.server("b"))
}

// Frames that no agent has to send, answers that nobody waits for, and answers under
// another's id change nothing (F14).
func TestLink_FramesOutOfPlaceAreIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, link := w.wire()
	link.Received(helloFrame(func(*messages.HelloRequest) {}))
	<-s.sent
	for _, frame := range []*messages.AgentFrame{
		{}, {Body: &messages.AgentFrame_HelloResponse{HelloResponse: &messages.HelloResponse{}}},
		{Body: &messages.AgentFrame_CreateSessionRequest{CreateSessionRequest: &messages.CreateSessionRequest{RequestId: "x"}}},
		{Body: &messages.AgentFrame_CreateSessionResponse{CreateSessionResponse: &messages.CreateSessionResponse{RequestId: "x", Result: &messages.Result{Success: true}}}},
		{Body: &messages.AgentFrame_DeleteSessionResponse{}}, {Body: &messages.AgentFrame_SessionsUpdateResponse{}},
	} {
		link.Received(frame)
	}
	link.Received(reportFrame())
	require.True(t, (<-s.sent).GetSessionsUpdateResponse().GetResult().GetSuccess(), "the link lives")
	require.Empty(t, w.scan(RecordSession))
}

// F14: two copies of one change of permissions are one command for the agent, also if it
// has answered the first one already, and take up one of its places.
func TestLink_CopiesOfACommandAreOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, link := w.wire()
	link.Received(helloFrame(func(*messages.HelloRequest) {}))
	<-s.sent
	permit := func(request string) *actor.Future {
		future := actor.NewFuture(w.deps.System, 10*time.Second)
		w.peers.Tell(messages.KindServer, "a", &messages.ServerCommand{ServerId: "a", Command: &messages.ServerCommand_SetPermissions{
			SetPermissions: &messages.SetPermissionsRequest{RequestId: request, SessionId: "s-1"}}}, future.PID())
		return future
	}
	for i := range maxUnderway + 1 {
		id := fmt.Sprint("request ", i)
		permit(id)
		copied := permit(id)
		w.handled("a")
		require.Equal(t, id, (<-s.sent).GetSetPermissionsRequest().GetRequestId())
		link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SetPermissionsResponse{
			SetPermissionsResponse: &messages.SetPermissionsResponse{RequestId: id, Result: &messages.Result{Success: true}}}})
		answer, err := copied.Result()
		require.NoError(t, err)
		require.True(t, answer.(*messages.SetPermissionsResponse).GetResult().GetSuccess())
		require.Empty(t, s.sent)
	}
}

// A thousand commands at once do not overflow the socket's queue: the agent has a few
// at a time, in order, and a sign of life is asked for beside them.
func TestLink_GivesTheAgentAFewCommandsAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, link := w.wire()
	asker := actor.NewFuture(w.deps.System, -1).PID()
	for i := range 500 {
		w.deps.System.Root.RequestWithCustomSender(link.pid, &messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionRequest{
			DeleteSessionRequest: &messages.DeleteSessionRequest{RequestId: fmt.Sprint(i)}}}, asker)
	}
	w.deps.System.Root.RequestWithCustomSender(link.pid, &messages.AgentFrame{Body: &messages.AgentFrame_DescribeRequest{
		DescribeRequest: &messages.DescribeRequest{RequestId: "alive?"}}}, asker)
	for i := range maxUnderway {
		require.Equal(t, fmt.Sprint(i), (<-s.sent).GetDeleteSessionRequest().GetRequestId())
	}
	require.Equal(t, "alive?", (<-s.sent).GetDescribeRequest().GetRequestId())
	require.Empty(t, s.sent)
	link.Received(helloFrame(func(*messages.HelloRequest) {}))
	<-s.sent
	link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionResponse{DeleteSessionResponse: &messages.DeleteSessionResponse{RequestId: "3"}}})
	require.Equal(t, fmt.Sprint(maxUnderway), (<-s.sent).GetDeleteSessionRequest().GetRequestId(), "one place is free again")
	require.Empty(t, s.sent)
}

// Whoever waits for an agent that goes away is told at once (F6).
func TestLink_LostInTheMiddleIsAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	require.True(t, w.ask(messages.KindSession, "s-1", &messages.UpdateSessionPermissions{SessionId: "s-1", Owner: "ann"}).(*messages.SetPermissionsResponse).GetResult().GetSuccess())
	shot := &messages.ServerCommand{ServerId: "a", Command: &messages.ServerCommand_Screenshot{Screenshot: &messages.ScreenshotRequest{SessionId: "s-1"}}}
	require.Len(t, w.ask(messages.KindServer, "a", shot).(*messages.ScreenshotResponse).GetImages(), 1)

	h.set(func(h *host) { h.silent = true })
	alarms := w.clock.waiting()
	answers := make(chan any, 2)
	go func() {
		answers <- w.ask(messages.KindSession, "s-1", &messages.UpdateSessionPermissions{SessionId: "s-1", Owner: "ann"})
	}()
	go func() { answers <- w.ask(messages.KindServer, "a", shot) }()
	await(t, "both to be under way", func() error {
		if w.clock.waiting() < alarms+2 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	h.disconnect()
	w.refused(<-answers, messages.CodeUnreachable)
	w.refused(<-answers, messages.CodeUnreachable)
	w.handled("a")
	w.refused(w.ask(messages.KindServer, "a", shot), messages.CodeUnreachable)
	w.refused(w.ask(messages.KindSession, "s-1", &messages.UpdateSessionPermissions{SessionId: "s-1", Owner: "bob"}), messages.CodeSessionNotFound)
}

// poison makes the grain that gets it panic: its session is missing.
type poisoned struct{ actor.Actor }

func (p *poisoned) Receive(ctx actor.Context) {
	if _, bad := ctx.Message().(*messages.CloseServer); bad {
		panic("as told")
	}
	p.Actor.Receive(ctx)
}

func (p *poisoned) giveUp(self *actor.PID, refusal *messages.Refusal) {
	p.Actor.(mortal).giveUp(self, refusal)
}

// F25, F26: a message that panics is answered, what stands behind it is handled by the
// next activation, and the server's agent comes again.
func TestPanic_IsAnsweredAndTheGrainIsLoadedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.peers.wrap = func(a actor.Actor) actor.Actor { return &poisoned{a} }
	h := w.host("a").connect()
	w.accepted("s-1", "ann", func(s *messages.SessionSpec) { s.EnqueueRequest = true })
	w.awaitState("s-1", ready)
	for _, grain := range [][2]string{{messages.KindSession, "s-1"}, {messages.KindQueue, messages.QueueIdentity}, {messages.KindServer, "a"}} {
		for range 3 {
			w.refused(w.ask(grain[0], grain[1], &messages.CloseServer{}), messages.CodeInternal)
		}
	}
	require.Equal(t, ready, w.view("s-1").GetState())
	h.report() // the new activation knows no link, and hears hello again
	w.accepted("s-2", "ann")
	w.awaitState("s-2", ready)
	w.awaitCount("a", 2)
	w.delete("s-1", "ann", false)
	w.awaitState("s-1", deleted)
}

// Those who wait are not forgotten with the queue.
func TestPanic_OfTheQueueKeepsThoseWhoWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.peers.wrap = func(a actor.Actor) actor.Actor { return &poisoned{a} }
	w.accepted("s-1", "ann", func(s *messages.SessionSpec) { s.EnqueueRequest = true })
	w.refused(w.ask(messages.KindQueue, messages.QueueIdentity, &messages.CloseServer{}), messages.CodeInternal)
	w.host("a").connect()
	await(t, "the session to be placed", func() error { w.clock.Advance(100_000_000); return stateIs(w, "s-1", ready) })
}
