package actors

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// copies collects what is told of agents that were turned away.
type copies struct {
	mu   sync.Mutex
	told []Copy
}

func (w *world) copies() *copies {
	c := &copies{}
	w.deps.Copied = func(one Copy) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, one)
	}
	return c
}

func (c *copies) all() []Copy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// F13: a copied image under another name and address shows the machine of a living agent.
// It is turned away before it is let in, and told of; the older keeps its sessions,
// also when it is away for a moment afterwards.
func TestClone_UnderAnotherServerIDIsTurnedAwayWhileTheFirstLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := w.copies()
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	twin := w.host("b")
	twin.machine = h.machine
	welcome := twin.hello()
	require.False(t, welcome.GetResult().GetSuccess())
	require.Equal(t, messages.CodeDuplicateIdentity, welcome.GetResult().GetCode())
	<-twin.closed
	require.Equal(t, []Copy{{ServerID: "a", MachineID: h.machine, ClientID: "client-1", Host: "b", Address: "10.0.0.1",
		Reason: "a living agent already uses this identity"}}, told.all())
	require.Nil(t, w.server("b"))

	twin.machine, twin.client = "machine-of-its-own", "client-2"
	twin.connect()
	h.disconnect()
	h.restartAgent()
	h.connect()
	require.Equal(t, "a", w.view("s-1").GetServerId())
	w.awaitState("s-1", ready)
	require.Equal(t, []string{"s-1"}, h.running())
	require.Len(t, told.all(), 1)
}

// C2, F13: a host that has another address now, and whose old socket only looks alive,
// is no copy.
func TestClone_ARenamedHostWithADeadSocketIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := w.copies()
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.set(func(h *host) { h.silent = true })
	reborn := w.host("a2")
	reborn.machine = h.machine
	reborn.start("s-1", "ann", "virtual")
	socket := reborn.dial()
	var welcome *messages.HelloResponse
	await(t, "the new address to be let in", func() error {
		select {
		case welcome = <-socket.welcome:
			return nil
		default:
			w.clock.Advance(time.Second)
			return fmt.Errorf("not yet")
		}
	})
	require.True(t, welcome.GetResult().GetSuccess())
	reborn.report()
	await(t, "the session to have moved", func() error {
		if v := w.view("s-1"); v.GetServerId() != "a2" || v.GetState() != ready || w.server("a") != nil {
			w.clock.Advance(time.Second)
			reborn.report() // as it does again and again
			return fmt.Errorf("%v", v)
		}
		return nil
	})
	require.Empty(t, told.all())
}

// The older is off when the copy comes: nobody can tell that from a host with another
// name, so the copy has the identity, and the older is the newcomer when it is back.
// It does not take the identity back.
func TestClone_WhoComesWhileTheFirstIsAwayHasTheIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := w.copies()
	h := w.host("a").connect()
	h.disconnect()
	twin := w.host("b")
	twin.machine = h.machine
	twin.connect()
	await(t, "the older entry to end", func() error {
		if w.server("a") != nil {
			w.clock.Advance(time.Second) // it may be asked whether it is there
			return fmt.Errorf("still there")
		}
		return nil
	})
	h.restartAgent()
	welcome := h.hello()
	require.Equal(t, messages.CodeDuplicateIdentity, welcome.GetResult().GetCode())
	require.Len(t, told.all(), 1)
	require.Equal(t, "b", told.all()[0].ServerID)
	h.machine, h.id = "another", "a-new"
	h.connect()
	w.awaitServer("b", "to have stayed", (*messages.ServerView).GetReachable)
}

// A copy that does not wait for the answer leaves nothing behind.
func TestClone_ThatLeavesBeforeTheAnswerLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host("a").connect()
	h.set(func(h *host) { h.silent = true })
	twin := w.host("b")
	twin.machine = h.machine
	twin.dial()
	twin.disconnect()
	for range 20 {
		w.clock.Advance(time.Second)
	}
	w.handled("b")
	require.Nil(t, w.server("b"))
}
