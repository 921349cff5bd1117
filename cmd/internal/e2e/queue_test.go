package e2e

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost/control"
)

// Sessions wait for room in the order of their coming, across a restart of the broker; the
// queue has an end, and so has waiting (contract 4; F40, F41).
func TestQueue_SessionsWaitForRoomInOrder(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "create-sessions-queue-max-size = 2")
	h := b.startHost("only", hostOptions{maxVirtual: 2, perUser: -1})
	b.api.awaitServer("only", "AVAILABLE", "")
	queued := object{"EnqueueRequest": true}

	first, second := b.api.created(virtual("u1", queued)), b.api.created(virtual("u2", queued))
	b.api.awaitState(first, "READY")
	b.api.awaitState(second, "READY")
	third, fourth := b.api.created(virtual("u3", queued)), b.api.created(virtual("u4", queued))
	require.Equal(t, "The queue of sessions waiting for a DCV server is full", b.api.refusal(virtual("u5", queued)))
	require.Equal(t, "No DCV server found for the given criteria", b.api.refusal(virtual("u6")))

	b.proc.kill()
	b.start()
	for _, id := range []string{third, fourth} {
		s, err := b.api.session(id)
		require.NoError(t, err)
		require.Equal(t, "CREATING SESSION_PLACING", s.State+" "+s.Substate)
	}
	b.api.delete(first, "u1", false)
	b.api.awaitState(third, "READY")
	s, err := b.api.session(fourth)
	require.NoError(t, err)
	require.Equal(t, "CREATING", s.State, "first come, first served")

	cancelled := b.api.created(virtual("u7", queued))
	require.Len(t, b.api.delete(cancelled, "u7", false).SuccessfulList, 1)
	b.api.awaitState(cancelled, "DELETED")
	b.api.delete(second, "u2", false)
	b.api.awaitState(fourth, "READY")
	h.awaitSession(fourth, true)
	h.awaitSession(cancelled, false)
}

func TestQueue_NobodyWaitsForEver(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "create-sessions-queue-max-time-seconds = 1")
	id := b.api.created(virtual("alice", object{"EnqueueRequest": true}))
	s := b.api.awaitState(id, "DELETED")
	require.Contains(t, s.StateReason, "create-sessions-queue-max-time-seconds")
}

// What one host cannot do another may: retries, unless the client does not want them
// (contract 4; C5, F9).
func TestRetry_AnotherHostTakesTheSession(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	hosts := map[string]*host{"good": b.startHost("good", hostOptions{perUser: -1}), "bad": b.startHost("bad", hostOptions{perUser: -1})}
	for name := range hosts {
		b.api.awaitServer(name, "AVAILABLE", "")
	}
	good := b.api.awaitServer("good", "AVAILABLE", "").ID
	hosts["bad"].fault(control.Fault{Kind: control.Fail, Message: "no licences"})
	for i := range 4 { // some of which are tried on the bad host first
		s := b.api.awaitState(b.api.created(virtual(fmt.Sprintf("u%d", i))), "READY")
		require.Equal(t, good, s.Server.ID)
	}

	onBad := object{"Requirements": "tag:host = 'bad'", "DisableRetryOnFailure": true}
	s := b.api.awaitState(b.api.created(virtual("alice", onBad)), "DELETED")
	require.Contains(t, s.StateReason, "licences", "the host's own words")

	// A host that heals within the allowed tries is good enough if there is no other.
	hosts["bad"].fault(control.Fault{Kind: control.Start})
	_, err := hosts["bad"].ask(control.Request{Command: control.ClearFaults})
	require.NoError(t, err)
	hosts["bad"].fault(control.Fault{Kind: control.Fail, Times: 2})
	b.api.awaitState(b.api.created(virtual("bob", object{"Requirements": "tag:host = 'bad'"})), "READY")
	b.api.awaitServer("bad", "AVAILABLE", "")

	hosts["bad"].fault(control.Fault{Kind: control.Stop})
	b.api.awaitServer("bad", "UNAVAILABLE", "UNHEALTHY_DCV_SERVER")
	require.Equal(t, "No DCV server found for the given criteria", b.api.refusal(virtual("carol", onBad)))
	s = b.api.awaitState(b.api.created(virtual("carol")), "READY")
	require.Equal(t, good, s.Server.ID)
	hosts["bad"].fault(control.Fault{Kind: control.Start})
	b.api.awaitServer("bad", "AVAILABLE", "")
}

// A host that never answers does not hold a session for ever (promise 6; C6, F42).
func TestRetry_AHostThatStallsIsGivenUp(t *testing.T) {
	t.Parallel()
	long(t, "it waits for the creation deadline")
	b := startBroker(t, "session-creation-timeout-seconds = 5", "create-sessions-number-of-retries-on-failure = 0")
	h := b.startHost("stalled", hostOptions{perUser: -1})
	b.api.awaitServer("stalled", "AVAILABLE", "")
	h.fault(control.Fault{Kind: control.Stall, Command: control.CreateSession})
	id := b.api.created(virtual("alice"))
	withdrawn := b.api.created(virtual("bob"))
	require.Len(t, b.api.delete(withdrawn, "bob", false).SuccessfulList, 1)
	s := b.api.awaitState(id, "DELETED")
	require.Contains(t, s.StateReason, "in time")
	_, err := h.ask(control.Request{Command: control.ClearFaults})
	require.NoError(t, err)
	b.api.awaitState(withdrawn, "DELETED")
	await(t, "no session on the host", func() error {
		all, err := h.sessions()
		if err == nil && len(all) > 0 {
			err = errors.New("there are some")
		}
		return err
	})
	require.Zero(t, b.api.awaitServer("stalled", "AVAILABLE", "").VirtualSessionCount)
}
