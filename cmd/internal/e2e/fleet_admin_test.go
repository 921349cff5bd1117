//go:build fleet

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// everywhere is how soon an administrator's change counts on every broker: a second, and
// patience for a loaded machine.
const everywhere = 3 * time.Second

// awaitEverywhere waits until something holds on each broker, and tells how long it took.
func (f *fleet) awaitEverywhere(what string, try func(b *broker) error) {
	f.t.Helper()
	began := time.Now()
	for _, b := range f.brokers {
		await(f.t, what, func() error { return try(b) })
	}
	took := time.Since(began)
	f.t.Logf("%s: %v", what, took.Round(time.Millisecond))
	require.Less(f.t, took, everywhere, what)
}

// Admin commands work on any broker and count on all within a second.
func TestFleet_AdministratorsChangesCountOnAllBrokers(t *testing.T) {
	f := startFleet(t, 3, 0)
	a, b, c := f.brokers[0], f.brokers[1], f.brokers[2]

	portal := b.newClient("second portal")
	at := func(one *broker) *client { other := *portal; other.url = one.url(); return &other }
	works := func(one *broker) error { _, err := at(one).servers(); return err }
	refuses := func(one *broker) error {
		if status, _ := at(one).tokenStatus(); status != 401 {
			return fmt.Errorf("a token was given: status %d", status)
		}
		if works(one) == nil {
			return fmt.Errorf("the token still counts")
		}
		return nil
	}
	f.awaitEverywhere("a new client", works)

	a.admin("renew-auth-server-api-key")
	f.awaitEverywhere("tokens of before a renewal", works)
	for _, signer := range f.brokers {
		portal.token = at(signer).newToken()
		f.awaitEverywhere("tokens of after a renewal", works)
	}

	found := credentials.FindStringSubmatch(c.admin("rotate-api-client-secret", "--client-id", portal.id))
	old := portal.password
	portal.password = found[2]
	f.awaitEverywhere("both passwords", func(one *broker) error {
		with := at(one)
		for _, with.password = range []string{old, found[2]} {
			if status, body := with.tokenStatus(); status != 200 {
				return fmt.Errorf("status %d: %s", status, body)
			}
		}
		return nil
	})

	mappings := filepath.Join(t.TempDir(), "mappings.json")
	require.NoError(t, os.WriteFile(mappings, []byte(`[{"ServerIdType":"Ip","ServerId":"10.0.0.7","DnsNames":{"InternalDnsName":"host7"}}]`), 0o600))
	a.admin("register-server-dns-mapping", "--file-path", mappings)
	f.awaitEverywhere("DNS mappings", func(one *broker) error {
		if said := one.admin("describe-server-dns-mappings"); !strings.Contains(said, `"host7"`) {
			return fmt.Errorf("it says %s", said)
		}
		return nil
	})

	c.admin("unregister-api-client", "--client-id", portal.id)
	f.awaitEverywhere("the end of a client", refuses)
}

// F36: an agent is unregistered at one broker and loses its socket at another.
func TestFleet_AnUnregisteredAgentIsOutWhereverItIs(t *testing.T) {
	f := startFleet(t, 3, 0)
	home := f.brokers[1]
	home.statementFile = f.brokers[0].statementFile
	home.simulate("host-0", agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1})
	for _, b := range f.brokers {
		f.at(b).awaitServer("host-0", "AVAILABLE", "")
	}
	agents := f.brokers[2].agentClients()
	require.Len(t, agents, 1)
	asked := time.Now()
	f.brokers[2].admin("unregister-agent-client", "--client-id", agents[0].ID)
	await(t, "the socket to be closed", func() error {
		if !strings.Contains(home.log.String(), "agents that were unregistered are disconnected") {
			return fmt.Errorf("nothing in the log of its broker")
		}
		return nil
	})
	t.Logf("after %v", time.Since(asked).Round(time.Millisecond))
	require.Less(t, time.Since(asked), revokedWithin)
	f.at(f.brokers[0]).awaitServer("host-0", "UNAVAILABLE", "UNREACHABLE_AGENT")
	require.Len(t, f.brokers[0].agentClients(), 1, "it did not register anew")
}
