package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// host is one of the simulated hosts and what its agent says about it.
type host struct {
	name string
	tags map[string]string
	most int // virtual sessions; -1 means any number
}

func hosts() []host {
	return []host{
		{"host-1", map[string]string{"team": "design"}, -1},
		{"host-2", map[string]string{"team": "design", "gpu": "yes"}, -1},
		{"host-3", map[string]string{"team": "research"}, 1},
	}
}

// startBroker runs the broker with nothing configured but where it lives.
func (s *stage) startBroker(ctx context.Context) (string, error) {
	var err error
	if s.ports, err = freePorts(); err != nil {
		return "", err
	}
	err = s.write(s.config,
		"# Everything else is at its default.",
		"session-manager-working-path = broker",
		"client-to-broker-connector-bind-host = 127.0.0.1",
		"agent-to-broker-connector-bind-host = 127.0.0.1",
		"client-to-broker-connector-https-port = "+strconv.Itoa(s.ports.client),
		"agent-to-broker-connector-https-port = "+strconv.Itoa(s.ports.agent),
		"cli-to-broker-port = "+strconv.Itoa(s.ports.admin))
	if err != nil {
		return "", err
	}
	s.command(s.program(brokerProgram) + " --config " + s.path(s.config))
	if err := s.runBroker(); err != nil {
		return "", err
	}
	return "it listens on https://" + local(s.ports.client) + "; keys, certificates and database made on the way", s.awaitBroker(ctx)
}

// runBroker is also how it comes back after its crash.
func (s *stage) runBroker() (err error) {
	s.broker, err = s.procs.start("broker", s.program(brokerProgram), "--config", s.path(s.config))
	return err
}

// awaitBroker returns when the broker is ready. Its CA certificate, which clients
// need, exists then at the latest.
func (s *stage) awaitBroker(ctx context.Context) error {
	return s.await(ctx, "the broker", func(ctx context.Context) error {
		if s.api == nil {
			pem, err := os.ReadFile(s.path(s.work, "security", "dcvsmbroker_ca.pem"))
			if err != nil {
				return err
			}
			if err := s.write("ca.pem", strings.TrimSpace(string(pem))); err != nil {
				return err
			}
			if s.api, err = newAPI("https://"+local(s.ports.client), s.path("ca.pem")); err != nil {
				return err
			}
		}
		return s.api.health(ctx)
	})
}

// registerClient makes credentials and keeps them where dcvsm and curl find them.
func (s *stage) registerClient(ctx context.Context) (string, error) {
	output, err := s.admin(ctx, "register-api-client", "--client-name", "demo")
	if err != nil {
		return "", err
	}
	id, password := after(output, "client-id: "), after(output, "client-password: ")
	if id == "" || password == "" {
		return "", errors.New("the command printed no credentials")
	}
	if err := s.api.login(ctx, id, password); err != nil {
		return "", err
	}
	err = s.write("dcvsm.conf",
		"[broker]", "url = "+s.api.base,
		"[security]", "ca-bundle = "+s.path("ca.pem"),
		"[authentication]", "auth-server-url = "+s.api.base+"/oauth2/token?grant_type=client_credentials",
		"client-id = "+id, "client-password = "+password)
	return "client " + id + ", with an access token for the REST API", errors.Join(err, s.write("token", "Authorization: Bearer "+s.api.token))
}

// after returns what follows a label on its line.
func after(output, label string) string {
	_, rest, _ := strings.Cut(output, label)
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}

// startHosts runs the simulated hosts, and the real agent on each.
func (s *stage) startHosts(ctx context.Context) (string, error) {
	arguments := []string{
		"serve", "--dir", s.path("hosts"), "--hosts", strconv.Itoa(len(s.hosts)), "--ca-file", s.path("ca.pem"),
		"--auth-token-verifier", "https://" + local(s.ports.agent) + "/agent/validate-authentication-token",
	}
	s.command(s.program(hostProgram) + " serve --dir " + s.path("hosts") + fmt.Sprintf(" --hosts %d ...", len(s.hosts)))
	if _, err := s.procs.start("hosts", s.program(hostProgram), arguments...); err != nil {
		return "", err
	}
	statement, err := s.admin(ctx, "generate-software-statement")
	if err != nil {
		return "", err
	}
	if err := s.write("statement", after(statement, "software-statement: ")); err != nil {
		return "", err
	}
	s.command(s.program(agentProgram) + " --config " + s.path("agent-1", "agent.conf") + "  # and " + number(len(s.hosts)-1) + " more")
	for _, h := range s.hosts {
		if err := s.startAgent(ctx, h); err != nil {
			return "", err
		}
	}
	if err := s.awaitServers(ctx); err != nil {
		return "", err
	}
	for _, h := range s.hosts {
		s.note("%s  tags: %s", h.name, h.description())
	}
	return fmt.Sprintf("%d servers AVAILABLE", len(s.servers)), nil
}

// number is a small number as a word.
func number(n int) string {
	if words := []string{"no", "one", "two", "three", "four", "five", "six"}; n >= 0 && n < len(words) {
		return words[n]
	}
	return strconv.Itoa(n)
}

func (h host) description() string {
	text := "team=" + h.tags["team"]
	if gpu := h.tags["gpu"]; gpu != "" {
		text += " gpu=" + gpu
	}
	if h.most >= 0 {
		text += fmt.Sprintf("  (room for %d session)", h.most)
	}
	return text
}

// startAgent waits for the host, because an agent wants its dcv program to exist.
func (s *stage) startAgent(ctx context.Context, h host) error {
	dcv := s.path("hosts", h.name, "dcv")
	ready := func(context.Context) error {
		_, err := os.Stat(filepath.Join(filepath.Dir(dcv), "host.json"))
		return err
	}
	if err := s.await(ctx, h.name, ready); err != nil {
		return err
	}
	name := "agent-" + strings.TrimPrefix(h.name, "host-")
	logs, err := filepath.Abs(filepath.Join(s.procs.logs, name))
	if err != nil {
		return err
	}
	for _, folder := range []string{s.path(name, "init"), s.path(name, "autorun"), s.path(name, "data"), logs} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	tags := []string{fmt.Sprintf("host = %q", h.name)}
	for key, value := range h.tags {
		tags = append(tags, fmt.Sprintf("%s = %q", key, value))
	}
	err = errors.Join(s.write(filepath.Join(name, "tags", "demo.toml"), tags...), s.write(filepath.Join(name, "agent.conf"),
		"version = '0.1'",
		"[agent]",
		"broker_host = '127.0.0.1'",
		"broker_port = "+strconv.Itoa(s.ports.agent),
		fmt.Sprintf("ca_file = %q", s.path("ca.pem")),
		fmt.Sprintf("software_statement_path = %q", s.path("statement")),
		fmt.Sprintf("dcv_root = %q", dcv),
		fmt.Sprintf("tags_folder = %q", s.path(name, "tags")),
		fmt.Sprintf("init_folder = %q", s.path(name, "init")),
		fmt.Sprintf("autorun_folder = %q", s.path(name, "autorun")),
		fmt.Sprintf("data_folder = %q", s.path(name, "data")),
		"preferred_network_interface = 'lo' # simulated hosts are on this machine only",
		fmt.Sprintf("broker_update_interval = %d # seconds; 30 is the default", s.every),
		"max_virtual_sessions = "+strconv.Itoa(h.most),
		"[log]",
		fmt.Sprintf("directory = %q", logs)))
	if err != nil {
		return err
	}
	_, err = s.procs.start(name, s.program(agentProgram), "--config", s.path(name, "agent.conf"))
	return err
}
