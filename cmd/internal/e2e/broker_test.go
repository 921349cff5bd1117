package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// broker is the broker program with its configuration; it may be killed and started again.
type broker struct {
	t                                *testing.T
	site                             *site // where it runs; nil is this machine
	dir, file                        string
	program                          string
	clientPort, agentPort, adminPort int
	log                              *logbook
	proc                             *process
	api                              *client
	anybody                          *client // without a token
	statementFile                    string
}

// newBroker writes a configuration file; settings are lines of it that win over ours.
func newBroker(t *testing.T, settings ...string) *broker {
	t.Helper()
	return newBrokerAt(t, nil, settings...)
}

func newBrokerAt(t *testing.T, place *site, settings ...string) *broker {
	t.Helper()
	b := &broker{t: t, site: place, program: brokerProgram, dir: t.TempDir(), clientPort: freePort(t), agentPort: freePort(t), adminPort: freePort(t)}
	b.log = newLogbook(t, "the broker")
	b.file = filepath.Join(b.dir, "broker.properties")
	b.configure(settings...)
	return b
}

func (b *broker) configure(settings ...string) {
	b.t.Helper()
	lines := append([]string{
		"session-manager-working-path = work",
		fmt.Sprintf("client-to-broker-connector-https-port = %d", b.clientPort),
		"client-to-broker-connector-bind-host = " + b.site.host(),
		fmt.Sprintf("agent-to-broker-connector-https-port = %d", b.agentPort),
		"agent-to-broker-connector-bind-host = " + b.site.host(),
		fmt.Sprintf("cli-to-broker-port = %d", b.adminPort),
		"agent-ping-interval-seconds = 1",
		"log-level = debug",
	}, settings...)
	require.NoError(b.t, os.WriteFile(b.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// startBroker runs a broker with a registered API client and a software statement.
func startBroker(t *testing.T, settings ...string) *broker {
	t.Helper()
	return startBrokerOf(t, brokerProgram, settings...)
}

// startBrokerOf runs a broker of a program.
func startBrokerOf(t *testing.T, program string, settings ...string) *broker {
	t.Helper()
	b := newBroker(t, settings...)
	b.program = program
	b.start()
	b.api = b.newClient("portal")
	b.statementFile = filepath.Join(b.dir, "statement")
	require.NoError(t, os.WriteFile(b.statementFile, []byte(b.newStatement()), 0o600))
	return b
}

func (b *broker) newStatement() string {
	b.t.Helper()
	statement, ok := strings.CutPrefix(b.admin("generate-software-statement"), "software-statement: ")
	require.True(b.t, ok)
	return strings.TrimSpace(statement)
}

// start returns when the broker says that it is well.
func (b *broker) start() {
	b.t.Helper()
	b.proc = startAt(b.t, b.site, b.log, b.program, "--config", b.file)
	await(b.t, "a healthy broker", func() error {
		if !b.proc.running() {
			b.t.Fatal("the broker ended instead of starting")
		}
		return b.healthy()
	})
}

// healthy asks as a load balancer does.
func (b *broker) healthy() error {
	if b.anybody == nil {
		if b.caPool() == nil {
			return errors.New("there is no CA file yet")
		}
		b.anybody = b.stranger()
	}
	answer, err := b.anybody.try(http.MethodGet, "/health", nil)
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", answer.status, answer.body)
	}
	return nil
}

// admin runs an admin command, which must succeed, and returns what it printed.
func (b *broker) admin(args ...string) string {
	b.t.Helper()
	o := commandAt(b.t, b.site, b.program, append([]string{"--config", b.file}, args...)...)
	require.Zero(b.t, o.code, "%v: %s", args, o.stderr)
	return o.stdout
}

// credentials are those of an API client, cut out as the Access Console's wizard does.
var credentials = regexp.MustCompile(`client-id: (.*?)\n.*?client-password: (.*?)\n`)

// newClient registers an API client and gets it a token.
func (b *broker) newClient(name string) *client {
	b.t.Helper()
	found := credentials.FindStringSubmatch(b.admin("register-api-client", "--client-name", name))
	require.Len(b.t, found, 3)
	c := b.stranger()
	c.id, c.password = found[1], found[2]
	c.token = c.newToken()
	return c
}

func (b *broker) caFile() string {
	return filepath.Join(b.dir, "work", "security", "dcvsmbroker_ca.pem")
}

func (b *broker) url() string { return fmt.Sprintf("https://%s:%d", b.site.host(), b.clientPort) }

func (b *broker) agentURL(path string) string {
	return "https://" + b.agentAddress() + path
}

func (b *broker) agentAddress() string { return fmt.Sprintf("%s:%d", b.site.host(), b.agentPort) }
