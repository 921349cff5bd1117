//go:build fleet && !race

package clustertest

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// An agent has one socket, to one broker; whichever broker a request comes to and
// whichever owns the session, it is done there.
func TestFleet_ServesEveryOperationThroughAnyBroker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	a := f.brokers[0]
	h := f.host("only", roomy, a)
	f.awaitServers(1, f.brokers...)
	for i := range 12 { // sessions of all owners
		for _, b := range f.brokers[1:] {
			s := b.api.create(fmt.Sprintf("user-%d", i))
			ready := a.api.awaitState(s.ID, "READY")
			require.Equal(t, "only", ready.Server.Hostname)
		}
	}
	require.Equal(t, 24, h.dcv.Count())
	all, err := a.api.sessions()
	require.NoError(t, err)
	require.Len(t, all, 24)
	n := 0
	for id, s := range all {
		b := f.brokers[n%3]
		n++
		changed, err := send[results](b.api, http.MethodPut, "/sessionPermissions",
			list{object{"SessionId": id, "Owner": s.Owner, "PermissionsFile": "W3Blcm1pc3Npb25zXQo="}})
		require.NoError(t, err)
		require.Len(t, changed.SuccessfulList, 1, "round %d: %+v", n, changed)
		shots, err := post[struct {
			SuccessfulList []struct{ SessionScreenshot object }
		}](b.api, "/getSessionScreenshots", list{object{"SessionId": id}})
		require.NoError(t, err)
		require.Len(t, shots.SuccessfulList, 1, "round %d", n)
		b.api.delete(s)
		f.brokers[(n+1)%3].api.awaitState(id, "DELETED")
	}
	await(t, "an empty host", func() error {
		if h.dcv.Count() != 0 {
			return errors.New("it has sessions")
		}
		return nil
	})
}

func TestFleet_OpensAndClosesServersThroughAnyBroker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.host("only", roomy, f.brokers[0])
	f.awaitServers(1, f.brokers...)
	all, err := f.brokers[0].api.servers()
	require.NoError(t, err)
	item, force := object{"ServerId": all[0].ID}, object{"ServerId": all[0].ID, "Force": true}
	for i := range 9 {
		f.brokers[i%3].api.one("/closeServers", force)
		for _, b := range f.brokers {
			seen, err := b.api.servers()
			require.NoError(t, err)
			require.Equal(t, "SERVER_CLOSED", seen[0].UnavailabilityReason, "round %d broker %s", i, b.name)
			b.api.refused("/createSessions", virtual("nobody"))
		}
		f.brokers[(i+1)%3].api.one("/openServers", item)
		for _, b := range f.brokers {
			b.api.delete(b.api.create(fmt.Sprintf("user-%d-%s", i, b.name)))
		}
	}
}

// The queue is one grain of the fleet: who comes to any broker waits in the same line.
func TestFleet_HasOneQueueForAllBrokers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.host("only", agent.Limits{MaxVirtual: 1, MaxPerUser: -1, MaxConsole: 1}, f.brokers[0])
	f.awaitServers(1, f.brokers...)
	var waiting []session
	for i := range 6 {
		waiting = append(waiting, f.brokers[i%3].api.create(fmt.Sprintf("user-%d", i), object{"EnqueueRequest": true}))
	}
	for i, s := range waiting { // first come, first served
		b := f.brokers[(i+1)%3]
		b.api.awaitState(s.ID, "READY")
		for _, later := range waiting[i+1:] {
			seen, err := b.api.session(later.ID)
			require.NoError(t, err)
			require.Equal(t, "CREATING", seen.State)
		}
		b.api.delete(s)
	}
}
