//go:build !race

package fleet

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
)

// freePort is one where nobody listens, with the address.
func freePort(t testing.TB) (port int, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	_, text, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	port, err = strconv.Atoi(text)
	require.NoError(t, err)
	return port, listener.Addr().String()
}

// A broker is restarted at its address, to which others sent meanwhile. What they sent
// while nobody listened, and all they send from then on, must reach the new process
// soon: by the first probes after its start the others judge it.
func TestPort_ABrokerThatComesBackAtItsAddressIsReachedAtOnce(t *testing.T) {
	t.Parallel()
	a := fellows(t, 1, nil)[0]
	port, address := freePort(t)
	for _, down := range []time.Duration{300 * time.Millisecond, 1300 * time.Millisecond} {
		t.Run(down.String(), func(t *testing.T) {
			began := time.Now()
			for time.Since(began) < down { // as the traffic of a fleet does
				a.post(address, &messages.Envelope{Actor: courierName}, &messages.Ping{}, 0)
				<-time.After(10 * time.Millisecond)
			}
			b := prepare(t, 0, func(c *Config) {
				c.ServerTLS, c.ClientTLS, c.Port = a.cfg.ServerTLS, a.cfg.ClientTLS, port
			})
			began = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := a.probe(ctx, membership.Member{ID: b.Self().ID, Address: address})
			require.ErrorIs(t, err, membership.ErrOtherEpoch, "it has not joined, and lives")
			t.Logf("reached after %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// terminations are the ends of endpoints to an address.
func (f *fellow) terminations(t testing.TB, address string) <-chan struct{} {
	ended := make(chan struct{}, 100)
	subscription := f.system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*remote.EndpointTerminatedEvent); ok && e.Address == address {
			ended <- struct{}{}
		}
	})
	t.Cleanup(func() { f.system.EventStream.Unsubscribe(subscription) })
	return ended
}

// Nobody comes back: the endpoint ends, once, and what is sent later is not queued behind it.
func TestPort_WhoIsNotReachedIsGivenUpOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	a := fellows(t, 1, nil)[0]
	_, address := freePort(t)
	ended := a.terminations(t, address)
	for round := range 2 {
		began := time.Now()
		a.post(address, &messages.Envelope{Actor: courierName}, &messages.Ping{}, 0)
		<-ended
		t.Logf("round %d: given up after %v", round, time.Since(began).Round(time.Millisecond))
	}
	select {
	case <-ended:
		t.Fatal("an endpoint that nobody asked for ended")
	case <-time.After(3 * longestPause):
	}
}

// What the process before owned at this address has no owner until that is removed: who
// asks for it waits, and the question does not go round in this broker.
func TestEpoch_WhatItsPredecessorOwnedIsAnsweredOnceThatIsRemoved(t *testing.T) {
	t.Parallel()
	port, address := freePort(t)
	registry := membership.NewMemory(time.Minute) // which notices nothing
	line := registry.Connect()
	before := membership.New(line, membership.Options{TTL: time.Minute, Heartbeat: 200 * time.Millisecond})
	require.NoError(t, before.Join(t.Context(), membership.Member{ID: "before", Address: address},
		func(context.Context, membership.Member) error { return nil }))
	t.Cleanup(func() { line.Mend(); _ = before.Leave(context.Background()) })
	line.Cut() // it dies
	f := start(t, 0, func(c *Config) {
		c.Port = port
		c.Source = membership.New(registry.Connect(), membership.Options{TTL: time.Minute, Heartbeat: 200 * time.Millisecond, Logger: c.Logger})
	})
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	for _, answer := range f.ask(t, ids...) {
		require.IsType(t, &messages.SessionClosed{}, answer)
	}
	require.False(t, f.View().Has("before"))
}
