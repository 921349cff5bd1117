//go:build fleet

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/persistence/consul/consultest"
)

// Addresses of the loopback network, so that one machine looks like three.
const (
	balancerSource = "127.0.0.9"  // of the balancer, as the brokers see it
	callerSource   = "127.0.0.77" // of a client, as the balancer sees it
	frontName      = "dcv.example.com"
)

// setUp is one of the configurations that are shipped.
type setUp struct {
	program, pkg string // to run it, and the Debian package it comes from
	file         string // below deploy
	terminates   bool   // TLS ends at the balancer
	asksHealth   bool
}

var (
	haproxyThrough = setUp{"haproxy", "haproxy", "haproxy/passthrough.cfg", false, true}
	haproxyEnds    = setUp{"haproxy", "haproxy", "haproxy/termination.cfg", true, true}
	nginxThrough   = setUp{"nginx", "nginx-light libnginx-mod-stream", "nginx/passthrough.conf", false, false}
	nginxEnds      = setUp{"nginx", "nginx-light", "nginx/termination.conf", true, false}
)

// settings are what the head of the shipped file says that a broker's file needs.
func (s setUp) settings() []string {
	settings := []string{"trusted-proxies = " + balancerSource}
	if s.terminates {
		return append(settings, "enable-throttling-forward-header = true")
	}
	return append(settings, "proxy-protocol = both", "certificate-names = "+frontName)
}

// startBehind is a fleet of three brokers that clients and agents know by the address of
// a balancer only, which runs with the shipped file.
func startBehind(t *testing.T, s setUp, hosts int) (f *fleet, front *broker) {
	t.Helper()
	long(t, "it needs a fleet of processes")
	path := installed(t, s)
	f = &fleet{t: t, hosts: map[string]*simulated{}}
	f.meetIn(consultest.Start(t, consultest.Options{}))
	for range 3 {
		b := f.prepare(s.settings()...)
		b.start()
		f.brokers = append(f.brokers, b)
	}
	front = f.balance(s, path)
	f.api = front.newClient("portal")
	front.statementFile = filepath.Join(front.dir, "statement")
	require.NoError(t, os.WriteFile(front.statementFile, []byte(front.newStatement()), 0o600))
	for _, b := range f.brokers {
		await(t, "the client to be known", func() error { _, err := f.at(b).servers(); return err })
	}
	for i := range hosts {
		name := fmt.Sprintf("host-%d", i)
		f.hosts[name] = front.simulate(name, agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1})
	}
	f.awaitHosts(front)
	return f, front
}

// launch runs a program that is not ours until the end of the test.
func launch(t *testing.T, log *logbook, path string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	require.NoError(t, cmd.Start(), path)
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

// certify makes the balancer's own certificate, signed by the fleet's CA, as deploy/README.md
// says.
func (f *fleet) certify(dir string) {
	f.t.Helper()
	script := strings.NewReplacer("/var/lib/dcvsmbroker/security", filepath.Join(f.brokers[0].dir, "work", "security"), "10.0.0.10", "127.0.0.1").
		Replace(guide(f.t).block("front certificate"))
	cmd := exec.CommandContext(f.t.Context(), "sh", "-e", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(f.t, err, "%s\n%s", script, out)
}

// installed is where the balancer's program is. It must be there: `make fleet` says so
// before it begins.
func installed(t *testing.T, s setUp) string {
	t.Helper()
	path, err := exec.LookPath(s.program)
	require.NoError(t, err, "apt-get install %s", s.pkg)
	return path
}

// balance runs a balancer before all brokers. What comes back stands for it where a
// story wants a broker's ports; admin commands go to the first broker.
func (f *fleet) balance(s setUp, path string) *broker {
	f.t.Helper()
	first := f.brokers[0]
	front := &broker{t: f.t, program: brokerProgram, dir: first.dir, file: first.file, clientPort: freePort(f.t), agentPort: freePort(f.t)}
	front.log = newLogbook(f.t, s.program)
	dir := f.t.TempDir()
	file := filepath.Join(dir, filepath.Base(s.file))
	require.NoError(f.t, os.WriteFile(file, []byte(f.shipped(s, front, dir)), 0o600))
	args := []string{"-db", "-f", file}
	if s.program == "nginx" {
		args = []string{"-p", dir, "-c", file, "-g", "daemon off; master_process off; pid " + filepath.Join(dir, "pid") + ";"}
	}
	front.proc = launch(f.t, front.log, path, args...)
	await(f.t, "the balancer", func() error {
		if !front.proc.running() {
			f.t.Fatal("the balancer ended instead of starting")
		}
		return front.healthy()
	})
	return front
}

// shipped is the file in deploy with the addresses, ports and paths of this run; the rest
// of it is as an operator gets it.
func (f *fleet) shipped(s setUp, front *broker, dir string) string {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", s.file))
	require.NoError(f.t, err)
	text := string(data)
	put := func(old, with string) {
		require.Contains(f.t, text, old, s.file)
		text = strings.ReplaceAll(text, old, with)
	}
	source := "" // of HAProxy it stands with each server
	if s.program == "haproxy" {
		source = " source " + balancerSource
		put("bind :8443", "bind "+front.clientAddress())
		put("bind :8445", "bind "+front.agentAddress())
	} else {
		put("listen 8443", "listen "+front.clientAddress())
		put("listen 8445", "listen "+front.agentAddress())
		block := "stream {"
		if s.terminates {
			block = "http {"
		}
		own := "proxy_bind " + balancerSource + ";"
		if s.terminates { // the usual places are those of the system's own nginx
			for _, folder := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				own += fmt.Sprintf(" %s_temp_path %s;", folder, filepath.Join(dir, folder))
			}
		}
		put(block, block+" "+own)
	}
	for i, b := range f.brokers {
		put(fmt.Sprintf("10.0.0.1%d:8443", i+1), b.clientAddress()+source)
		put(fmt.Sprintf("10.0.0.1%d:8445", i+1), b.agentAddress()+source)
	}
	etc := "/etc/" + s.program + "/"
	if s != nginxThrough { // which neither asks /health nor looks into TLS
		put(etc+"dcvsmbroker_ca.pem", front.caFile())
	}
	if s.terminates {
		f.certify(dir)
		put(etc+"front.", filepath.Join(dir, "front."))
	}
	return text
}

func (b *broker) clientAddress() string { return fmt.Sprintf("127.0.0.1:%d", b.clientPort) }

// from is a client whose connections come from an address. It trusts the balancer's name.
func (b *broker) from(source string) *client {
	c := b.stranger()
	trust := b.trust()
	trust.ServerName = frontName
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return tls.Client(raw, trust), nil
	}}
	b.t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport, Timeout: time.Minute}
	return c
}
