package actors

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// Between a session, its server and the socket of the server's agent there are brokers
// and connections that may go away with what is on its way. Nothing of that may keep a
// session from its host until its deadline for slow hosts.

// network lies between the actors of a world: it loses what a test names.
type network struct {
	mu   sync.Mutex
	lose string // type of the messages
	lost chan proto.Message
	// ends are the network's ends of links. All activations of a grain know the same ones,
	// for a message may be handed from one to the next.
	ends map[string]*actor.PID
}

// between puts a network before the grains and links of a world. It has to be there before
// the first of them.
func (w *world) between() *network {
	n := &network{lost: make(chan proto.Message, 100), ends: map[string]*actor.PID{}}
	w.peers.wrap = func(grain actor.Actor) actor.Actor {
		return &remote{Actor: grain, net: n}
	}
	return n
}

// loseNext loses the next message of the type of example.
func (n *network) loseNext(example proto.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lose = fmt.Sprintf("%T", example)
}

func (n *network) takes(msg any) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := msg.(proto.Message)
	if frame, is := msg.(*messages.AgentFrame); is && frame.GetCreateSessionRequest() != nil {
		m = frame.GetCreateSessionRequest()
	}
	if !ok || n.lose == "" || fmt.Sprintf("%T", m) != n.lose {
		return false
	}
	n.lose = ""
	n.lost <- m
	return true
}

// remote is a grain that others, and the links of agents, reach through the network.
type remote struct {
	actor.Actor
	net *network
}

func (r *remote) Receive(ctx actor.Context) {
	if r.net.takes(ctx.Message()) {
		return
	}
	if link := linkOf(ctx.Message()); link != nil && *link != nil {
		*link = r.net.end(ctx, *link)
	}
	r.Actor.Receive(ctx)
}

func (r *remote) giveUp(self *actor.PID, refusal *messages.Refusal) {
	r.Actor.(mortal).giveUp(self, refusal)
}

// linkOf is where a message names a link.
func linkOf(msg any) **actor.PID {
	switch m := msg.(type) {
	case *messages.AgentAttached:
		return &m.Link
	case *messages.AgentReported:
		return &m.Link
	case *messages.AgentDetached:
		return &m.Link
	default:
		return nil
	}
}

// end hands on what is for a link unless it gets lost.
func (n *network) end(ctx actor.Context, link *actor.PID) *actor.PID {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, end := range n.ends {
		if end.Equal(link) {
			return end
		}
	}
	if n.ends[link.GetId()] == nil {
		n.ends[link.GetId()] = ctx.ActorSystem().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case actor.SystemMessage, actor.AutoReceiveMessage:
			default:
				if !n.takes(m) {
					ctx.Forward(link)
				}
			}
		}))
	}
	return n.ends[link.GetId()]
}

// moves ends a grain without a word, as the death of its broker does; the next one to
// need it makes another.
func (w *world) moves(kind, id string) {
	w.peers.mu.Lock()
	defer w.peers.mu.Unlock()
	if pid := w.peers.grains[kind+"/"+id]; pid != nil {
		delete(w.peers.grains, kind+"/"+id)
		w.deps.System.Root.Stop(pid)
	}
}

// wakes is what every change of the view, and the loss of a connection, tells a grain.
func (w *world) wakes(kind, id string) { w.peers.Tell(kind, id, &messages.Wake{}, nil) }

func TestLaunch_WhatIsLostOnTheWayIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost proto.Message
		then func(*world, *host)
	}{
		"the order to the server, and a broker leaves":            {&messages.LaunchSession{}, func(w *world, _ *host) { w.wakes(messages.KindSession, "s-1") }},
		"the command to the agent, and it reports":                {&messages.CreateSessionRequest{}, func(_ *world, h *host) { h.report() }},
		"the command to the agent, and a connection was lost":     {&messages.CreateSessionRequest{}, func(w *world, _ *host) { w.wakes(messages.KindServer, "a") }},
		"the command to the agent, and a broker leaves":           {&messages.CreateSessionRequest{}, func(w *world, _ *host) { w.wakes(messages.KindSession, "s-1") }},
		"the agent's answer, and it reports":                      {&messages.CreateSessionResponse{}, func(_ *world, h *host) { h.report() }},
		"the agent's answer, and a connection was lost":           {&messages.CreateSessionResponse{}, func(w *world, _ *host) { w.wakes(messages.KindServer, "a") }},
		"the agent's answer, and it comes through another":        {&messages.CreateSessionResponse{}, func(_ *world, h *host) { h.disconnect(); h.connect() }},
		"the command to the agent, and it comes through another":  {&messages.CreateSessionRequest{}, func(_ *world, h *host) { h.disconnect(); h.connect() }},
		"the server's word to the session, and the agent reports": {&messages.SessionLaunched{}, func(_ *world, h *host) { h.report() }},
		"the server's word to the session, and a broker leaves":   {&messages.SessionLaunched{}, func(w *world, _ *host) { w.wakes(messages.KindSession, "s-1") }},
		"the command to the agent, with the server's broker": {&messages.CreateSessionRequest{}, func(w *world, h *host) {
			w.moves(messages.KindServer, "a")
			h.disconnect()
			h.connect()
		}},
		"the agent's answer, with the server's broker": {&messages.CreateSessionResponse{}, func(w *world, h *host) {
			w.moves(messages.KindServer, "a")
			h.report() // of a link that the new activation does not know: it is asked to say hello again
			h.report()
		}},
		"the order to the server, with the session's broker": {&messages.LaunchSession{}, func(w *world, _ *host) {
			w.moves(messages.KindSession, "s-1")
			w.wakes(messages.KindSession, "s-1")
		}},
		"the server's word, with the session's broker": {&messages.SessionLaunched{}, func(w *world, _ *host) {
			w.moves(messages.KindSession, "s-1")
			w.wakes(messages.KindSession, "s-1")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.between()
			h := w.host("a", limited(2, -1)).connect()
			n.loseNext(c.lost)
			w.accepted("s-1", "ann")
			<-n.lost
			began := w.clock.Now()
			c.then(w, h)
			w.awaitState("s-1", ready)
			require.Equal(t, began, w.clock.Now(), "no deadline was needed")
			require.Equal(t, []string{"s-1"}, h.running())
			require.Equal(t, 1, h.most, "and was made once")
			w.awaitServer("a", "to count it once", func(v *messages.ServerView) bool { return v.GetVirtualSessions() == 1 })
		})
	}
}

// Nobody says anything any more: the time for one try ends it, and another one begins.
func TestLaunch_WhatStaysLostIsTriedElsewhere(t *testing.T) {
	t.Parallel()
	for _, lost := range []proto.Message{&messages.LaunchSession{}, &messages.CreateSessionRequest{}} {
		t.Run(fmt.Sprintf("%T", lost), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.between()
			w.host("a", limited(2, -1)).connect()
			w.host("b", limited(2, -1)).connect()
			n.loseNext(lost)
			w.accepted("s-1", "ann")
			<-n.lost
			w.clock.Advance(w.deps.Config.Session.Launch + time.Second)
			w.awaitState("s-1", ready)
			total := func() int32 {
				return w.server("a").GetVirtualSessions() + w.server("b").GetVirtualSessions()
			}
			await(t, "one slot to be taken", func() error {
				if total() != 1 {
					return fmt.Errorf("%d are", total())
				}
				return nil
			})
		})
	}
}

// The host has closed the session and its answer is lost: the next report, which lacks the
// session, has it asked again.
func TestDelete_AnswerThatWasLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(*world, *host){
		"and the agent reports":     func(_ *world, h *host) { h.report() },
		"and a connection was lost": func(w *world, _ *host) { w.wakes(messages.KindServer, "a") },
		"and its time is over meanwhile": func(w *world, h *host) {
			w.clock.Advance(w.deps.Config.Session.Delete + time.Second)
			w.awaitState("s-1", unknown)
			h.report()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.between()
			h := w.host("a", limited(1, -1)).connect()
			w.accepted("s-1", "ann")
			w.awaitState("s-1", ready)
			n.loseNext(&messages.DeleteSessionResponse{})
			w.delete("s-1", "ann", false)
			<-n.lost
			w.handled("a")
			then(w, h)
			w.awaitState("s-1", deleted)
			w.awaitCount("a", 0)
			require.Empty(t, h.running())
		})
	}
}

// A link found a new owner, and the question that is to prove it, or the answer, is lost:
// the reports of its agent are not doubted for ever.
func TestLink_QuestionForAProofThatWasLostIsPutAgain(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(*world, *host){
		"with a later report":        func(w *world, h *host) { w.clock.Advance(2 * w.deps.Config.Probe); h.report() },
		"when a connection was lost": func(w *world, _ *host) { w.wakes(messages.KindServer, "a") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.between()
			h := w.host("a").connect()
			w.accepted("s-1", "ann")
			w.awaitState("s-1", ready)
			h.lose("s-1")
			n.loseNext(&messages.DescribeResponse{})
			w.peers.Tell(messages.KindServer, "a", &messages.AgentAttached{ServerId: "a", Link: h.link.pid, AgentClientId: h.client,
				Hello: &messages.HelloRequest{ServerId: "a", MachineId: h.machine, BootId: h.boot, InstanceId: h.instance}}, h.link.pid)
			<-n.lost
			w.handled("a")
			require.Equal(t, ready, w.view("s-1").GetState(), "nothing is proven yet")
			then(w, h)
			w.awaitState("s-1", deleted)
		})
	}
}
