// Package scenario is what is measured, and how the processes of a measurement work
// together. Every scenario compares two things that run on the same machine at the
// same time, in rounds that alternate.
package scenario

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
	"opensessionmanager/http/admin/adminclient"
)

// Scale is how much is measured. The budgets are for DefaultScale.
type Scale struct {
	// Sessions are the fleet sizes at which describeSessions is measured.
	Sessions []int
	// Agents is how many hosts are connected while sessions are created.
	Agents int
	// Engine is how many hosts the engine has.
	Engine int
	// Latency is how many sessions the larger fleet has when creates are timed.
	Latency int
	// MemoryAgents and MemorySessions fill the broker whose memory is measured.
	MemoryAgents, MemorySessions int
	// FleetSessions and FleetAgents are what the fleets of one and of three have.
	FleetSessions, FleetAgents int
	// Rounds is how often each side of a comparison is measured, and Round for how long.
	Rounds int
	Round  time.Duration
}

// DefaultScale is what the budgets speak of.
func DefaultScale() Scale {
	return Scale{Sessions: []int{1000, 10_000}, Agents: 1000, Engine: 10_000, Latency: 100_000,
		MemoryAgents: 10_000, MemorySessions: 100_000, FleetSessions: 1000, FleetAgents: 300, Rounds: 5, Round: 500 * time.Millisecond}
}

// Run is one run of the harness.
type Run struct {
	Scale    Scale
	Report   *report.Report
	Random   *rand.Rand
	Folder   string    // for state and logs; the caller removes it
	Progress io.Writer // one line per step
	Profiles string    // folder for profiles, "" = none

	children []*child.Child
	folders  int
}

// order has the scenarios by name, in the order in which they run.
var order = []struct {
	name string
	run  func(*Run, context.Context) error
}{
	{"describe", (*Run).describe},
	{"engine", (*Run).engine},
	{"create", (*Run).create},
	{"latency", (*Run).latency},
	{"memory", (*Run).memory},
	{"fleet", (*Run).fleet},
}

// Names lists the scenarios.
func Names() []string {
	names := make([]string, len(order))
	for i, s := range order {
		names[i] = s.name
	}
	return names
}

// Do runs the scenarios that were chosen, in their own order.
func (r *Run) Do(ctx context.Context, chosen func(name string) bool) error {
	for _, s := range order {
		if !chosen(s.name) {
			continue
		}
		err := s.run(r, ctx)
		r.stopAll()
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
	}
	return nil
}

func (r *Run) stopAll() {
	for i := len(r.children) - 1; i >= 0; i-- {
		if err := r.children[i].Stop(); err != nil {
			r.say("a process ended badly: %v", err)
		}
	}
	r.children = nil
}

func (r *Run) say(format string, args ...any) {
	fmt.Fprintf(r.Progress, "%6.1fs  %s\n", time.Since(r.Report.Began).Seconds(), fmt.Sprintf(format, args...))
}

// newFolder makes an empty folder for one process.
func (r *Run) newFolder(name string) (string, error) {
	r.folders++
	path := filepath.Join(r.Folder, fmt.Sprintf("%02d-%s", r.folders, name))
	return path, os.MkdirAll(path, 0o700)
}

// start makes a process; it is stopped at the end of the scenario at the latest.
func (r *Run) start(role, name string) (*child.Child, error) {
	r.folders++
	c, err := child.Start(role, filepath.Join(r.Folder, fmt.Sprintf("%02d-%s.log", r.folders, name)))
	if err == nil {
		r.children = append(r.children, c)
	}
	return c, err
}

// server is a process that is measured.
type server struct {
	*child.Child
	roles.BrokerAddresses
	name  string
	token string
}

// at is where a server is, and how to be let in.
func (s *server) at() roles.At { return roles.At{Addr: s.Client, Token: s.token} }

// startBroker starts a broker and becomes a client of it.
func (r *Run) startBroker(ctx context.Context, name string, cfg roles.BrokerConfig) (*server, error) {
	s, err := r.startProcess(name, cfg)
	if err == nil {
		err = s.becomeClient(ctx, cfg.Folder)
	}
	return s, err
}

func (r *Run) startProcess(name string, cfg roles.BrokerConfig) (*server, error) {
	process, err := r.start(roles.Broker, name)
	if err != nil {
		return nil, err
	}
	s := &server{Child: process, name: name}
	return s, s.Ask("start", cfg, &s.BrokerAddresses)
}

// becomeClient registers a client at a broker and gets it a token.
func (s *server) becomeClient(ctx context.Context, folder string) error {
	admin, err := adminclient.Open(folder)
	if err != nil {
		return err
	}
	defer admin.Close()
	credentials, err := admin.RegisterAPIClient(ctx, "bench")
	if err != nil {
		return err
	}
	s.token, err = accessToken(ctx, s.BrokerAddresses, credentials)
	return err
}

// startBare starts the server that brokers are compared with.
func (r *Run) startBare() (*server, error) {
	folder, err := r.newFolder("bare")
	if err != nil {
		return nil, err
	}
	process, err := r.start(roles.Bare, "bare")
	if err != nil {
		return nil, err
	}
	s := &server{Child: process, name: "bare"}
	return s, s.Ask("start", roles.BareConfig{Folder: folder}, &s.BrokerAddresses)
}

// measured is what requests are sent to: a server, or all brokers of a fleet.
type measured interface {
	CPU() (time.Duration, error)
	at() roles.At
	trust() (caFile string)
}

func (s *server) trust() string { return s.CAFile }

// startLoad starts the sender of requests with connections to each server.
func (r *Run) startLoad(connections int, servers ...measured) (*child.Child, error) {
	sender, err := r.start(roles.Load, "load")
	for _, s := range servers {
		if err == nil {
			err = sender.Ask("dial", roles.Dial{Addr: s.at().Addr, CAFile: s.trust(), Connections: connections}, nil)
		}
	}
	return sender, err
}

// startAgents connects hosts to a broker and waits until all are there.
func (r *Run) startAgents(ctx context.Context, s *server, cfg roles.AgentsConfig) error {
	hosts, err := r.start(roles.Agents, "agents-"+s.name)
	if err != nil {
		return err
	}
	cfg.Broker, cfg.CAFile = s.Agent, s.CAFile
	if err := hosts.Ask("start", cfg, nil); err != nil {
		return err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for said := time.Now(); ; {
		var connected int
		if err := hosts.Ask("connected", struct{}{}, &connected); err != nil {
			return err
		}
		if connected == cfg.Count {
			return nil
		}
		if time.Since(said) > 2*time.Second {
			said = time.Now()
			r.say("%s: %d of %d agents connected", s.name, connected, cfg.Count)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause waits, so that what was just begun settles.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// profiled runs do while a process writes a CPU profile, if profiles are wanted.
func (r *Run) profiled(c *child.Child, name string, do func() error) error {
	if r.Profiles == "" {
		return do()
	}
	base := filepath.Join(r.Profiles, strings.ReplaceAll(name, " ", "-"))
	if err := c.Ask("profile", base+".cpu", nil); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := c.Ask("profiled", struct{}{}, nil); err != nil {
		return err
	}
	return c.Ask("heap", base+".heap", nil)
}
