package actors

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// farLink is a link on another broker: what is sent to it comes here.
type farLink struct {
	w       *world
	ended   atomic.Bool // and its last word was lost
	refused atomic.Bool // it was told to say hello again
}

func (l *farLink) SendUserMessage(_ *actor.PID, message any) {
	_, msg, _ := actor.UnwrapEnvelope(message)
	switch m := msg.(type) {
	case *messages.Refusal:
		l.refused.Store(m.GetCode() == messages.CodeNotReady)
	case *messages.AgentFrame:
		if ask := m.GetDescribeRequest(); ask != nil && !l.ended.Load() {
			l.w.peers.Tell(messages.KindServer, "a", &messages.DescribeResponse{RequestId: ask.GetRequestId(),
				Result: &messages.Result{Code: messages.AgentTimeout}}, nil) // in the agent's place
		}
	}
}
func (l *farLink) SendSystemMessage(*actor.PID, any) {}
func (l *farLink) Stop(*actor.PID)                   {}

// attachFar lets a host in through another broker.
func (h *host) attachFar() *farLink {
	h.w.t.Helper()
	l := &farLink{w: h.w}
	h.w.deps.System.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		return l, pid.GetAddress() == otherAddress
	})
	require.IsType(h.w.t, &messages.AgentAccepted{}, h.w.ask(messages.KindServer, h.id, &messages.AgentAttached{ServerId: h.id,
		Link: actor.NewPID(otherAddress, "link"), AgentClientId: h.client, Hello: &messages.HelloRequest{ServerId: h.id, MachineId: h.machine,
			BootId: h.boot, InstanceId: h.instance, Facts: h.facts, Load: &messages.ServerLoad{DcvHealthy: true}}}))
	h.w.awaitServer(h.id, "to be reachable", (*messages.ServerView).GetReachable)
	return l
}

// Brokers do not watch each other's actors. The link of an agent ended on another broker and
// its last word was lost: the agent that comes again, as a new process, is not locked out.
func TestIdentity_AgentIsLetInAgainAfterItsLinkEndedElsewhereWithoutAWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a")
	h.attachFar().ended.Store(true)
	h.restartAgent()
	socket := h.dial()
	await(t, "the agent to be let in", func() error {
		select {
		case welcome := <-socket.welcome:
			require.True(t, welcome.GetResult().GetSuccess())
			return nil
		default:
			w.clock.Advance(time.Second)
			return errors.New("not yet")
		}
	})
	h.report()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
}

// The server of such a link is not taken for reachable for ever, although nobody uses it.
func TestServer_NoticesThatALinkElsewhereEndedWithoutAWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.host("a").attachFar()
	link.ended.Store(true)
	await(t, "the server to be unreachable", func() error {
		w.clock.Advance(time.Second)
		w.handled("a")
		if w.server("a").GetReachable() {
			return errors.New("reachable without an agent")
		}
		return nil
	})
	require.True(t, link.refused.Load(), "should it live it says hello again")
}

// Agents may be told to report once in an hour.
func TestServer_KeepsALinkElsewhereThatAnswersAndReportsSeldom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.host("a").attachFar()
	for range 600 {
		w.clock.Advance(time.Second)
		w.handled("a")
		w.handled("a") // behind the answer, if there was a question
	}
	require.True(t, w.server("a").GetReachable())
	require.False(t, link.refused.Load())
}
