package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	waitTime = 30 * time.Second // for anything that is awaited
	pollTime = 40 * time.Millisecond
)

// programs are what `make build` makes.
var programs = [...]string{brokerProgram, agentProgram, hostProgram, clientProgram}

const (
	brokerProgram = "dcv-session-manager-broker"
	agentProgram  = "dcv-session-manager-agent"
	hostProgram   = "dcv-devserver"
	clientProgram = "dcvsm"
)

// stage is what the demonstration plays on: folders, processes, ports, and what
// the steps so far have made. One goroutine uses it.
type stage struct {
	options
	*console
	dir   string // temporary; goes away at the end
	start time.Time
	ports ports
	hosts []host
	every int // seconds between the agents' full reports
	procs processes

	config string // the file of the broker that admin commands go to
	work   string // and its working path

	broker   *process
	viewer   *process // the user who is connected
	api      *api
	servers  map[string]string // server id to the host's name
	sessions []session
	url      string // that the user connected with
}

// newStage makes the folders. The one that stays keeps the logs of the latest run.
func newStage(o options, console *console) (*stage, error) {
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(o.bin, name)); err != nil {
			return nil, fmt.Errorf("%s is missing in %s: run make build", name, o.bin)
		}
	}
	logs := filepath.Join(o.out, "logs")
	if err := os.RemoveAll(logs); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return nil, err
	}
	return &stage{options: o, console: console, dir: dir, start: time.Now(), procs: processes{logs: logs},
		hosts: hosts(), every: 1, config: "broker.properties", work: "broker"}, nil
}

// close ends every process and removes the temporary folder.
func (s *stage) close() error {
	s.procs.stop()
	return os.RemoveAll(s.dir)
}

// performance is what is played: a headline, the steps, and what is said in the end.
type performance struct {
	headline string
	steps    []step
	closing  []string
}

// perform plays the steps one after the other; the first that fails is the last.
func (s *stage) perform(ctx context.Context, p performance) error {
	s.print("\n%s", s.in(bold, p.headline))
	s.print("%s", s.in(dim, "A line with $ is what you would type for the same."))
	for i, step := range p.steps {
		s.title(i+1, len(p.steps), step.title)
		began := time.Now()
		answer, err := step.do(ctx)
		if err != nil {
			return s.explain(ctx, i+1, step.title, err)
		}
		s.answer(answer, time.Since(began))
	}
	s.procs.stop()
	s.summary(p.closing)
	return nil
}

// explain says which step failed, why, and where to look.
func (s *stage) explain(ctx context.Context, number int, title string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("Step %d failed: %s\n%w\nThe logs are in %s", number, title, err, s.procs.logs)
}

// await tries until it works. It gives up at once when a process has died, and
// after waitTime with the last reason.
func (s *stage) await(ctx context.Context, what string, try func(context.Context) error) error {
	defer s.waiting(what)()
	limited, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	reason := errors.New("no answer")
	for {
		err := try(limited)
		if err == nil {
			return nil
		}
		if limited.Err() == nil { // else the time was over in the middle of it
			reason = err
		}
		if died := s.procs.check(); died != nil {
			return fmt.Errorf("while waiting for %s: %w", what, died)
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return fmt.Errorf("waited %.0f s for %s: %w", waitTime.Seconds(), what, reason)
		}
	}
}

// program is the path of one of the programs.
func (s *stage) program(name string) string { return filepath.Join(s.bin, name) }

// path is a file of the temporary folder.
func (s *stage) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// write makes a private file, and its folder, in the temporary folder.
func (s *stage) write(name string, lines ...string) error {
	file := s.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// dcvsm is the start of a client command line as a person would type it.
func (s *stage) dcvsm(command string) string {
	return s.program(clientProgram) + " --conf " + s.path("dcvsm.conf") + " " + command
}

// curl is a call of the client API as a person would type it.
func (s *stage) curl(path string) string {
	return "curl --cacert " + s.path("ca.pem") + " -H @" + s.path("token") + " " + s.api.base + path
}

// admin runs an admin command against the running broker.
func (s *stage) admin(ctx context.Context, arguments ...string) (string, error) {
	s.command(s.program(brokerProgram)+" --config "+s.path(s.config), strings.Join(arguments, " "))
	all := append([]string{"--config", s.path(s.config)}, arguments...)
	return runs(ctx, s.program(brokerProgram), all...)
}
