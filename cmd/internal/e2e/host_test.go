package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/internal/devhost"
	"opensessionmanager/internal/devhost/control"
)

// hostOptions say what a host is like; zero values are an agent's defaults.
type hostOptions struct {
	tags         map[string]string
	maxVirtual   int
	perUser      int
	keepSessions bool
	consoleOwner string
	agent        string // the agent program, "" is ours
	enrols       bool   // its agent.conf names neither CA nor statement
	tokenFile    string // enrolment_token_path
}

// host is a stand-in DCV host and its agent, two processes.
type host struct {
	t         *testing.T
	name, dir string
	broker    *broker
	options   hostOptions
	log       *logbook
	devserver *process
	agent     *process
}

// startHost runs a host whose server is tagged host=name.
func (b *broker) startHost(name string, o hostOptions) *host {
	b.t.Helper()
	h := b.prepareHost(name, o)
	h.startAgent()
	return h
}

// prepareHost is startHost without the agent.
func (b *broker) prepareHost(name string, o hostOptions) *host {
	b.t.Helper()
	h := &host{t: b.t, name: name, dir: filepath.Join(b.dir, name), broker: b, options: o, log: newLogbook(b.t, name)}
	showOnFailure(b.t, "the agent of "+name, h.agentLog)
	h.configure()
	h.startServer()
	return h
}

func (h *host) configure() {
	h.t.Helper()
	for _, folder := range []string{"tags", "init", "autorun", "data", "log"} {
		require.NoError(h.t, os.MkdirAll(filepath.Join(h.dir, folder), 0o700))
	}
	tags := fmt.Sprintf("host = %q\n", h.name)
	for k, v := range h.options.tags {
		tags += fmt.Sprintf("%s = %q\n", k, v)
	}
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "tags", "tags.toml"), []byte(tags), 0o600))
	limits := ""
	if h.options.maxVirtual != 0 {
		limits += fmt.Sprintf("max_virtual_sessions = %d\n", h.options.maxVirtual)
	}
	if h.options.perUser != 0 {
		limits += fmt.Sprintf("max_concurrent_sessions_per_user = %d\n", h.options.perUser)
	}
	papers := fmt.Sprintf("ca_file = '%s'\nsoftware_statement_path = '%s'\n", h.broker.caFile(), h.broker.statementFile)
	if h.options.enrols {
		papers = ""
	}
	if h.options.tokenFile != "" {
		papers += fmt.Sprintf("enrolment_token_path = '%s'\n", h.options.tokenFile)
	}
	text := strings.NewReplacer("DIR", h.dir, "PORT", fmt.Sprint(h.broker.agentPort), "PAPERS", papers,
		"LIMITS", limits).Replace(`version = '0.1'
[agent]
broker_host = '127.0.0.1'
broker_port = PORT
PAPERSdcv_root = 'DIR/host-1/dcv'
tags_folder = 'DIR/tags'
init_folder = 'DIR/init'
autorun_folder = 'DIR/autorun'
data_folder = 'DIR/data'
broker_update_interval = 1
LIMITS[log]
level = 'debug'
directory = 'DIR/log'
`)
	require.NoError(h.t, os.WriteFile(h.confFile(), []byte(text), 0o600))
}

func (h *host) confFile() string { return filepath.Join(h.dir, "agent.conf") }
func (h *host) folder() string   { return filepath.Join(h.dir, "host-1") }

func (h *host) startAgent() {
	h.t.Helper()
	h.agent = start(h.t, h.log, cmp.Or(h.options.agent, agentProgram), "--config", h.confFile())
}

func (h *host) agentLog() string {
	text, err := os.ReadFile(filepath.Join(h.dir, "log", "agent.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// startServer returns when the DCV server answers.
func (h *host) startServer() {
	h.t.Helper()
	args := []string{"serve", "--dir", h.dir, "--verbose", "--ca-file", h.broker.caFile(),
		"--auth-token-verifier", h.broker.agentURL("/agent/validate-authentication-token")}
	if h.options.keepSessions {
		args = append(args, "--keep-sessions")
	}
	if h.options.consoleOwner != "" {
		args = append(args, "--console-owner", h.options.consoleOwner)
	}
	h.devserver = start(h.t, h.log, hostProgram, args...)
	await(h.t, "the DCV server of "+h.name, func() error {
		if !h.devserver.running() {
			h.t.Fatal("the DCV server ended instead of starting")
		}
		_, err := h.sessions()
		return err
	})
}

// killAll is the sudden end of the host: both processes, kill -9.
func (h *host) killAll() {
	h.agent.kill()
	h.devserver.kill()
}

// ask speaks to the DCV server past its dcv command.
func (h *host) ask(r control.Request) (control.Answer, error) {
	info, err := devhost.ReadInfo(h.folder())
	if err != nil {
		return control.Answer{}, err
	}
	answer, err := control.Call(h.t.Context(), info.Socket, r)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer, err
}

// sessions are what the host really has, by id.
func (h *host) sessions() (map[string]control.Session, error) {
	answer, err := h.ask(control.Request{Command: control.ListSessions})
	if err != nil {
		return nil, err
	}
	all := map[string]control.Session{}
	for _, s := range answer.Sessions {
		all[s.ID] = s
	}
	return all, nil
}

// present is what the host really has: owners by session id.
func (h *host) present() (map[string]string, error) {
	all, err := h.sessions()
	owners := map[string]string{}
	for id, s := range all {
		owners[id] = s.Owner
	}
	return owners, err
}

func (h *host) allowed() agent.Limits {
	l := agent.Limits{MaxVirtual: -1, MaxPerUser: 1, MaxConsole: 1}
	if h.options.maxVirtual != 0 {
		l.MaxVirtual = int32(h.options.maxVirtual)
	}
	if h.options.perUser != 0 {
		l.MaxPerUser = int32(h.options.perUser)
	}
	return l
}

// fault makes something go wrong on the host.
func (h *host) fault(f control.Fault) {
	h.t.Helper()
	_, err := h.ask(control.Request{Command: control.InjectFault, Fault: &f})
	require.NoError(h.t, err)
}

// awaitSession waits until the host has a session, or has not.
func (h *host) awaitSession(id string, there bool) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("session %s on host %s: %t", id, h.name, there), func() error {
		all, err := h.sessions()
		if _, found := all[id]; err == nil && found != there {
			err = fmt.Errorf("there: %t", found)
		}
		return err
	})
}
