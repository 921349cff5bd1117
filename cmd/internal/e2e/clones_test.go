package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// copyData makes a host's data folder that of another one, as a copied disk image has it.
func (h *host) copyData(from *host) {
	h.t.Helper()
	to := filepath.Join(h.dir, "data")
	require.NoError(h.t, os.RemoveAll(to))
	require.NoError(h.t, os.CopyFS(to, os.DirFS(filepath.Join(from.dir, "data"))))
	require.Equal(h.t, from.machine(), h.machine())
	require.NoError(h.t, os.Chmod(filepath.Join(to, "credentials.json"), 0o600))
}

func (h *host) machine() string {
	h.t.Helper()
	id, err := os.ReadFile(filepath.Join(h.dir, "data", "machine-id"))
	require.NoError(h.t, err)
	return string(id)
}

// setAgent adds a line to the [agent] table.
func (h *host) setAgent(line string) {
	h.t.Helper()
	text, err := os.ReadFile(h.confFile())
	require.NoError(h.t, err)
	require.NoError(h.t, os.WriteFile(h.confFile(), []byte(strings.Replace(string(text), "[agent]\n", "[agent]\n"+line+"\n", 1)), 0o600))
}

func (h *host) connections() int { return strings.Count(h.agentLog(), "Connected to the broker") }

// loopback is the interface whose address the copy has, so that its server id differs.
func loopback(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	t.Skip("there is no loopback interface")
	return ""
}

// requireTold: one line of the audit trail, and a warning, about a copied identity.
func (b *broker) requireTold() {
	b.t.Helper()
	require.Equal(b.t, 1, strings.Count(b.auditTrail(), `"msg":"duplicate-identity"`))
	require.Equal(b.t, 1, strings.Count(b.log.String(), "two agents with one identity"))
}

// F13: two hosts with one identity, of which the second has another address or not: both
// are there, under ids and clients of their own, it was told of once, nobody takes turns,
// and the older keeps its session, also when its agent starts anew.
func TestClone_TwoHostsWithOneIdentityAreToldApart(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]string{
		"the same address": "",
		"another address":  fmt.Sprintf("preferred_network_interface = '%s'", loopback(t)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t)
			first := b.startHost("a", hostOptions{})
			older := b.api.awaitServer("a", "AVAILABLE", "")
			id := b.api.create(virtual("alice", nil)).SuccessfulList[0].ID
			b.api.awaitState(id, "READY")
			kept := first.machine()
			second := b.prepareHost("b", hostOptions{})
			second.copyData(first)
			second.setAgent(setting)
			second.startAgent()

			newer := b.api.awaitServer("b", "AVAILABLE", "")
			require.NotEqual(t, older.ID, newer.ID)
			require.Equal(t, kept, first.machine())
			require.NotEqual(t, kept, second.machine())
			require.Len(t, b.agentClients(), 2, "the newer has a client of its own")
			wait(t, 4*time.Second) // several reports and pings: time enough to take turns
			require.Equal(t, 1, first.connections())
			require.Equal(t, 1, second.connections())
			b.requireTold()

			first.agent.kill()
			first.startAgent()
			await(t, "the older to be back", func() error {
				if n := first.connections(); n != 2 {
					return fmt.Errorf("%d connections", n)
				}
				return nil
			})
			require.Equal(t, older.ID, b.api.awaitServer("a", "AVAILABLE", "").ID)
			require.Equal(t, newer.ID, b.api.awaitServer("b", "AVAILABLE", "").ID)
			b.api.awaitState(id, "READY")
			first.awaitSession(id, true)
			b.requireTold()
		})
	}
}

// The older is off when the copy comes. Nobody can tell the copy from the host itself
// under another address, so it has the identity. The older, back again, is the newcomer:
// both are there in the end.
func TestClone_WhoComesWhileTheFirstIsOffHasTheIdentity(t *testing.T) {
	t.Parallel()
	b := startBroker(t, "agent-grace-seconds = 1")
	first := b.startHost("a", hostOptions{})
	older := b.api.awaitServer("a", "AVAILABLE", "")
	kept := first.machine()
	first.killAll()
	b.api.awaitServer("a", "UNAVAILABLE", "UNREACHABLE_AGENT")
	second := b.prepareHost("b", hostOptions{})
	second.copyData(first)
	second.startAgent()
	require.Equal(t, older.ID, b.api.awaitServer("b", "AVAILABLE", "").ID, "same name, same address, same machine")
	first.startServer()
	first.startAgent()
	require.NotEqual(t, older.ID, b.api.awaitServer("a", "AVAILABLE", "").ID)
	require.Equal(t, older.ID, b.api.awaitServer("b", "AVAILABLE", "").ID)
	require.NotEqual(t, kept, first.machine())
	require.Equal(t, kept, second.machine())
	require.Len(t, b.agentClients(), 2)
	b.requireTold()
}

// A host that enrolled with a token for itself alone has no papers for a second client:
// its copy has an identity of its own and shares the client, until it is given a token.
func TestClone_OfAHostThatEnrolledByToken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	first := b.prepareHost("a", hostOptions{enrols: true})
	require.Zero(t, first.enrol(b.enrolmentToken()).code)
	first.startAgent()
	b.api.awaitServer("a", "AVAILABLE", "")
	second := b.prepareHost("b", hostOptions{enrols: true})
	second.copyData(first)
	second.startAgent()
	b.api.awaitServer("b", "AVAILABLE", "")
	require.Len(t, b.agentClients(), 1)
	require.Contains(t, second.agentLog(), "it goes on with the copied credentials")
	b.requireTold()
	require.Zero(t, second.enrol(b.enrolmentToken()).code)
	require.Len(t, b.agentClients(), 2)
}
