package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// revokedWithin is how soon a revocation has to reach every broker and socket, with
// patience for a loaded machine.
const revokedWithin = 5 * time.Second

type described struct {
	Name, ID string
	Active   bool
}

// agentClients lists the agents as a script does.
func (b *broker) agentClients() (list []described) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal([]byte(b.admin("describe-agent-clients", "--output", "json")), &list))
	return list
}

// F36: an agent that was unregistered loses its socket within seconds, does not come back
// by itself, and the sessions of its host are UNKNOWN, not gone.
func TestRevocation_AnUnregisteredAgentIsOutWithinSeconds(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "agent-grace-seconds = 1")
	h := b.startHost("a", hostOptions{maxVirtual: 3})
	b.api.awaitServer("a", "AVAILABLE", "")
	id := b.api.create(virtual("alice", nil)).SuccessfulList[0].ID
	b.api.awaitState(id, "READY")
	agents := b.agentClients()
	require.Len(t, agents, 1)

	asked := time.Now()
	require.Equal(t, "agent client "+agents[0].ID+" unregistered\n", b.admin("unregister-agent-client", "--client-id", agents[0].ID))
	await(t, "the agent to be told", func() error {
		if !strings.Contains(h.agentLog(), "this agent was unregistered") {
			return errors.New("nothing in its log")
		}
		return nil
	})
	t.Logf("disconnected after %v", time.Since(asked))
	require.Less(t, time.Since(asked), revokedWithin)
	b.api.awaitServer("a", "UNAVAILABLE", "UNREACHABLE_AGENT")
	b.api.awaitState(id, "UNKNOWN")
	await(t, "the agent to try again and be refused", func() error {
		if !strings.Contains(h.agentLog(), "unauthorized_client") {
			return errors.New("nothing in its log")
		}
		return nil
	})
	require.Len(t, b.agentClients(), 1, "it did not register anew")
	onHost, err := h.sessions()
	require.NoError(t, err)
	require.Contains(t, onHost, id, "the desktop runs on")
}

// A statement that was stolen: nobody registers with it any more, and with --with-agents
// those that did are out.
func TestRevocation_AStatementWithItsAgents(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "agent-grace-seconds = 1")
	b.startHost("a", hostOptions{})
	b.api.awaitServer("a", "AVAILABLE", "")
	var statements []map[string]string
	require.NoError(t, json.Unmarshal([]byte(b.admin("describe-software-statements", "--output", "json")), &statements))
	for _, s := range statements {
		b.admin("deactivate-software-statement", "--software-statement", s["software-statement"])
	}
	for range 3 { // it stays, as the vendor's do
		b.api.awaitServer("a", "AVAILABLE", "")
	}
	gone := 0
	for _, s := range statements {
		var said struct {
			N int `json:"unregistered-agent-clients"`
		}
		require.NoError(t, json.Unmarshal([]byte(b.admin("deactivate-software-statement", "--software-statement", s["software-statement"], "--with-agents", "--output", "json")), &said))
		gone += said.N
	}
	require.Equal(t, 1, gone)
	b.api.awaitServer("a", "UNAVAILABLE", "UNREACHABLE_AGENT")
}

// C27: a portal goes on while its password is replaced.
func TestRotation_APortalGoesOn(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	before := *b.api
	said := b.admin("rotate-api-client-secret", "--client-id", b.api.id, "--overlap-seconds", "2")
	found := credentials.FindStringSubmatch(said)
	require.Len(t, found, 3)
	require.Equal(t, b.api.id, found[1])
	b.api.password = found[2]
	require.NotEmpty(t, b.api.newToken())
	status, body := before.tokenStatus()
	require.Equal(t, 200, status, "%s", body)
	await(t, "the end of the overlap", func() error {
		if status, _ := before.tokenStatus(); status != 401 {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	require.NotEmpty(t, b.api.newToken())
}
