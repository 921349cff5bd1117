//go:build fleet

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

	"opensessionmanager/agent"
	"opensessionmanager/persistence/consul/consultest"
)

// The operator's guide for one broker, word for word.
func TestFleet_GuideToOneBroker(t *testing.T) {
	t.Parallel()
	long(t, "it runs programs")
	const host = "one"
	p := newPremises(t, host)
	p.systemctl = func(_ string, args []string) {
		require.Equal(t, []string{"enable", "--now", brokerProgram}, args)
		require.NoError(t, os.MkdirAll(p.path(host, "var", "lib", "dcvsmbroker"), 0o700)) // as systemd does
		require.FileExists(t, p.path(host, "etc", "systemd", "system", brokerProgram+".service"))
		p.settle(host).start()
	}
	require.Regexp(t, credentials, p.run(host, "one broker"))
}

const (
	management = "4d1d6b7c-5a9e-4b7e-8f0e-2f4b1f0a9c01"
	onBalancer = "10.0.0.10"
)

var onBrokers = []string{"10.0.0.11", "10.0.0.12", "10.0.0.13"}

// The operator's guide to a fleet, from nothing to a restored backup: Consul with ACLs that
// deny, three brokers behind HAProxy, a client, an agent, an upgrade, a removal.
func TestFleet_GuideToThreeBrokers(t *testing.T) {
	t.Parallel()
	long(t, "it needs a fleet of processes")
	o := newOperator(t)
	o.setsUp()
	o.putsABalancerInFront()
	o.usesIt()
	o.upgradesAndRemoves()
	o.restores()
	for _, name := range o.guide.names() {
		if name != "one broker" && name != "front certificate" { // each has a test of its own
			require.True(t, o.ran[name], "the block %q was not executed", name)
		}
	}
	require.NotContains(t, o.fleet.logs(), "panic")
}

// operator follows the guide.
type operator struct {
	*premises
	fleet   *fleet
	front   *broker
	brokers map[string]*broker
	haproxy *process
	session string
}

func newOperator(t *testing.T) *operator {
	o := &operator{premises: newPremises(t, append(onBrokers, onBalancer)...), brokers: map[string]*broker{},
		fleet: &fleet{t: t, consul: consultest.Start(t, consultest.Options{Token: management}), hosts: map[string]*simulated{}}}
	o.premises.systemctl = o.systemctl
	o.env = []string{"CONSUL_HTTP_ADDR=" + o.fleet.consul.Address(), "CONSUL_HTTP_TOKEN=" + management}
	return o
}

func (o *operator) systemctl(host string, args []string) {
	switch command := strings.Join(args, " "); command {
	case "enable --now " + brokerProgram:
		o.supervise(o.brokers[host])
	case "disable --now " + brokerProgram:
		require.Zero(o.t, o.brokers[host].proc.stop())
	case "restart " + brokerProgram:
		require.Zero(o.t, o.brokers[host].proc.stop())
		o.supervise(o.brokers[host])
	case "restart haproxy":
		o.haproxy = launch(o.t, o.front.log, installed(o.t, haproxyThrough), "-db", "-f", o.path(onBalancer, "etc", "haproxy", "haproxy.cfg"))
	default:
		o.t.Fatalf("nobody knows systemctl %s", command)
	}
}

// supervise starts a broker as the unit says: one that ends with an error is started again.
func (o *operator) supervise(b *broker) {
	o.t.Helper()
	run := func() {
		b.proc = start(o.t, b.log, brokerProgram, "--config", b.file)
	}
	run()
	await(o.t, "a healthy broker", func() error {
		if !b.proc.running() {
			require.NotZero(o.t, b.proc.exitCode(), "it ended by itself")
			o.t.Log("a broker ended with an error and is started again")
			run()
		}
		return b.healthy()
	})
}

// setsUp is steps 1 to 4.
func (o *operator) setsUp() {
	t := o.t
	printed := o.run(onBrokers[0], "acl")
	token := regexp.MustCompile(`SecretID: +(\S+)`).FindStringSubmatch(printed)
	require.Len(t, token, 2, printed)
	o.env[1] = "CONSUL_HTTP_TOKEN=" + token[1] // the brokers' rights do from here on
	for _, host := range onBrokers {
		o.replace = []string{"ADDRESS=10.0.0.11", "ADDRESS=127.0.0.1", "http://10.0.0.20:8500", o.fleet.consul.Address(),
			"SECRET-ID", token[1], "trusted-proxies = 10.0.0.10", "trusted-proxies = " + balancerSource}
		o.run(host, "install")
		o.brokers[host] = o.settle(host)
		o.fleet.brokers = append(o.fleet.brokers, o.brokers[host])
	}
	o.replace = nil
	require.NoError(t, os.MkdirAll(o.path(onBrokers[0], "var", "lib", "dcvsmbroker"), 0o700)) // as systemd does
	o.run(onBrokers[0], "first")
	o.run(onBrokers[0], "copy the CA")
	for _, host := range onBrokers[1:] {
		o.run(host, "others")
	}
}

// putsABalancerInFront is step 5. The file has the addresses of this machine, as the
// operator puts in those of the brokers.
func (o *operator) putsABalancerInFront() {
	first := o.fleet.brokers[0]
	o.front = &broker{t: o.t, program: brokerProgram, dir: first.dir, file: first.file, clientPort: freePort(o.t), agentPort: freePort(o.t), log: newLogbook(o.t, "haproxy")}
	text := o.fleet.shipped(haproxyThrough, o.front, o.dir)
	text = strings.ReplaceAll(text, o.front.caFile(), o.path(onBalancer, "etc", "haproxy", "dcvsmbroker_ca.pem"))
	file := filepath.Join(o.dir, "checkout", "deploy", haproxyThrough.file)
	require.NoError(o.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(o.t, os.WriteFile(file, []byte(text), 0o600))
	o.run(onBalancer, "balancer")
	await(o.t, "the balancer", o.front.healthy)
}

// usesIt is steps 6 and 7.
func (o *operator) usesIt() {
	t, f := o.t, o.fleet
	printed := o.run(onBrokers[1], "register")
	found := credentials.FindStringSubmatch(printed)
	require.Len(t, found, 3, printed)
	f.api = o.front.stranger()
	f.api.id, f.api.password = found[1], found[2]
	await(t, "all brokers to know the client", func() error {
		for _, b := range f.brokers {
			if err := known(f.at(b)); err != nil {
				return err
			}
		}
		return nil
	})
	f.api.token = f.api.newToken()
	_, statement, ok := strings.Cut(printed, "software-statement: ")
	require.True(t, ok)
	o.front.statementFile = filepath.Join(o.dir, "statement")
	require.NoError(t, os.WriteFile(o.front.statementFile, []byte(strings.TrimSpace(statement)), 0o600))
	o.checksAgentConf()

	f.hosts["host"] = o.front.simulate("host", agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1})
	f.awaitHosts(o.front)
	created := call[results](f.at(o.front), http.MethodPost, "/createSessions", list{virtual("alice")})
	require.Len(t, created.SuccessfulList, 1)
	o.session = created.SuccessfulList[0].ID
	f.at(o.front).awaitState(o.session, "READY")

	o.replace = []string{"curl ", fmt.Sprintf("curl -s --connect-to dcv.example.com:8443:%s ", o.front.clientAddress())}
	printed = o.run(onBrokers[0], "health")
	o.replace = nil
	require.Contains(t, printed, `{"status": "ok"`)
	require.Equal(t, 3, strings.Count(printed, `"id"`)+strings.Count(printed, `"ID"`), printed)
}

// known: a client gets a token.
func known(c *client) error {
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/oauth2/token?grant_type=client_credentials", nil)
	if err != nil {
		return err
	}
	request.SetBasicAuth(c.id, c.password)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := c.exchange(request, "/oauth2/token")
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%d: %s", a.status, a.body)
	}
	return err
}

// checksAgentConf: the agent takes the file that the guide shows.
func (o *operator) checksAgentConf() {
	o.ran["agent.conf"] = true
	folder := o.path("agent")
	text := strings.ReplaceAll(o.guide.block("agent.conf"), "/etc/dcv-session-manager-agent/", folder+"/")
	require.NoError(o.t, os.MkdirAll(folder, 0o700))
	ca, err := os.ReadFile(o.front.caFile())
	require.NoError(o.t, err)
	require.NoError(o.t, os.WriteFile(filepath.Join(folder, "broker-ca.pem"), ca, 0o600))
	file := filepath.Join(folder, "agent.conf")
	require.NoError(o.t, os.WriteFile(file, []byte(text), 0o600))
	printed := command(o.t, agentProgram, "--check-config", "--config", file)
	for _, line := range strings.Split(printed.stderr, "\n") { // the folders and dcv are not on this machine
		require.NotContains(o.t, line, "broker", printed.stderr)
	}
}

func (o *operator) upgradesAndRemoves() {
	t := o.t
	through := *o.fleet
	through.brokers = []*broker{o.front}
	load := through.load(2)
	load.awaitAccepted(20)
	for _, host := range onBrokers {
		o.run(host, "upgrade")
		load.awaitAccepted(10)
	}
	o.run(onBrokers[2], "remove")
	o.fleet.brokers = o.fleet.brokers[:2]
	load.awaitAccepted(10)
	load.stop()
	require.Empty(t, load.failed, "requests that failed twice")
}

// restores: everything is lost, and comes back from the backup.
func (o *operator) restores() {
	t, f := o.t, o.fleet
	o.run(onBrokers[0], "backup")
	for _, b := range f.brokers {
		b.proc.stop()
	}
	o.shell(onBrokers[0], "consul kv delete -recurse dcv-session-manager/")
	require.NoError(t, os.RemoveAll(o.path(onBrokers[0], "var", "lib", "dcvsmbroker", "security")))
	o.run(onBrokers[0], "restore")
	for _, b := range f.brokers {
		o.supervise(b)
	}
	await(t, "the client to be known again", func() error { return known(f.at(o.front)) })
	f.api.token = f.api.newToken() // those of before are refused
	await(t, "the session to be known again", func() error {
		s, err := f.at(o.front).session(o.session)
		if err == nil && s.State != "READY" {
			err = errors.New(s.State)
		}
		return err
	})
	f.awaitHosts(o.front)
}
