package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// C25: each choice of the operator has a test that shows what it does. Those of
// Session.Queue, QueueSize, DropServer and DropSessions stand with the queue and the
// servers in life_test.go.

// expires checks that something holds before its time and not after. The clock leaps,
// so the second after counts as well.
func expires(t *testing.T, w *world, after time.Duration, holds func() bool) {
	t.Helper()
	w.clock.Advance(after - 100*time.Millisecond)
	require.True(t, holds(), "too early")
	await(t, "the time to be over", func() error {
		w.clock.Advance(100 * time.Millisecond)
		if holds() {
			return fmt.Errorf("it still holds")
		}
		return nil
	})
}

func TestConfig_LaunchIsTheTimeOfOneTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.Launch, c.Session.Retries = 7*time.Second, 0 })
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	expires(t, w, 7*time.Second, func() bool { return w.view("s-1").GetState() == creating })
}

func TestConfig_PlacementIsTheTimeToFindAnotherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.Placement = time.Second })
	deaf, _ := w.deafPlacer()
	h := w.host("a")
	h.silent = true
	h.connect()
	w.accepted("s-1", "ann")
	deaf.Store(true) // the second search finds nobody who answers
	w.peers.Tell(messages.KindSession, "s-1", &messages.SessionLaunchFailed{SessionId: "s-1", ServerId: "a", Code: messages.CodeAgentFailed, Message: "no"}, nil)
	await(t, "another host to be sought", func() error {
		if w.view("s-1").GetSubstate() != messages.SessionSubstate_SESSION_SUBSTATE_PLACING {
			return fmt.Errorf("%v", w.view("s-1"))
		}
		return nil
	})
	expires(t, w, time.Second, func() bool { return w.view("s-1").GetState() == creating })
	require.Equal(t, messages.CodeAgentFailed, w.view("s-1").GetReasonCode())
}

func TestConfig_DeleteIsTheTimeAHostHasToConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.Delete = 7 * time.Second })
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.set(func(h *host) { h.silent = true })
	w.delete("s-1", "ann", false)
	expires(t, w, 7*time.Second, func() bool { return w.view("s-1").GetState() == deleting })
	w.awaitState("s-1", unknown)
}

func TestConfig_KeepDeletedIsTheTimeTheDeletedAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Session.KeepDeleted = 7 * time.Second })
	w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	w.delete("s-1", "ann", false)
	w.awaitState("s-1", deleted)
	expires(t, w, 7*time.Second, func() bool { return w.view("s-1") != nil })
}

func TestConfig_RetriesAreTriesAfterTheFirst(t *testing.T) {
	t.Parallel()
	for retries := range 3 {
		w := newWorld(t, func(c *Config) { c.Session.Retries = retries })
		h := w.host("a")
		h.fail = messages.AgentFailed
		h.connect()
		w.accepted("s-1", "ann")
		w.awaitState("s-1", deleted)
		require.Equal(t, retries+1, h.creates)
	}
}

func TestConfig_ReservationIsTheTimeASlotIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Reservation = 7 * time.Second })
	w.host("a").connect()
	w.ask(messages.KindServer, "a", &messages.ReserveSlot{ServerId: "a", SessionId: "s", Owner: "ann", Type: messages.SessionType_SESSION_TYPE_VIRTUAL})
	w.awaitCount("a", 1)
	expires(t, w, 7*time.Second, func() bool { return w.server("a").GetVirtualSessions() == 1 })
}

func TestConfig_GraceIsTheTimeAnAgentMayBeAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Grace = 7 * time.Second })
	h := w.host("a").connect()
	h.disconnect()
	w.handled("a")
	expires(t, w, 7*time.Second, func() bool { return w.server("a").GetReachable() })
}

func TestConfig_ProbeIsTheTimeToShowASignOfLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Probe = 7 * time.Second })
	h := w.host("a").connect()
	h.set(func(h *host) { h.silent = true })
	alarms := w.clock.waiting()
	socket := w.host("a").dial()
	await(t, "the holder to be asked", func() error {
		if w.clock.waiting() == alarms {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	expires(t, w, 7*time.Second, func() bool { return len(socket.welcome) == 0 })
}

func TestConfig_CommandIsTheTimeAnAgentHasToAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Command = 7 * time.Second })
	h := w.host("a").connect()
	w.accepted("s-1", "ann")
	w.awaitState("s-1", ready)
	h.set(func(h *host) { h.silent = true })
	alarms := w.clock.waiting()
	asked := make(chan any, 1)
	go func() {
		asked <- w.ask(messages.KindSession, "s-1", &messages.UpdateSessionPermissions{SessionId: "s-1", Owner: "ann"})
	}()
	await(t, "the command to be sent", func() error {
		if w.clock.waiting() == alarms {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	expires(t, w, 7*time.Second, func() bool { return len(asked) == 0 })
	w.refused(<-asked, messages.CodeAgentTimeout)
}

func TestConfig_AgentsAreToldVersionAndPingInterval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.BrokerVersion, c.PingInterval = "7.7", 7*time.Second })
	welcome := w.host("a").hello()
	require.Equal(t, "7.7", welcome.GetBrokerVersion())
	require.EqualValues(t, 7, welcome.GetPingIntervalSeconds())
}
