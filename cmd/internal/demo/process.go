package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// farewell is how long a process may take to end when asked.
const farewell = 5 * time.Second

// tailLines is how much of a log a failure shows.
const tailLines = 8

// process is a program that runs beside the demonstration.
type process struct {
	name    string
	log     string // file of its output
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended; err is set then
	err     error
	endIsOK bool // it may end by itself
}

// processes are all that run, in the order of their start. One goroutine uses it.
type processes struct {
	logs    string // folder
	running []*process
}

// start runs a program whose output goes to logs/NAME.log.
func (ps *processes) start(name, program string, arguments ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(ps.logs, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, arguments...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	ownGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	ps.running = append(ps.running, p)
	return p, nil
}

// check fails if a process ended that should run.
func (ps *processes) check() error {
	for _, p := range ps.running {
		select {
		case <-p.done:
			if !p.endIsOK {
				return fmt.Errorf("%s ended by itself (%s)\n%s", p.name, p.cmd.ProcessState, tail(p.log))
			}
		default:
		}
	}
	return nil
}

// kill is kill -9; it returns when the process is gone.
func (ps *processes) kill(p *process) {
	killGroup(p.cmd.Process)
	<-p.done
	ps.running = slices.DeleteFunc(ps.running, func(other *process) bool { return other == p })
}

// stop ends all, the last one first, and returns when none is left.
func (ps *processes) stop() {
	for _, p := range slices.Backward(ps.running) {
		endGroup(p.cmd.Process)
	}
	patience := time.After(farewell)
	for _, p := range slices.Backward(ps.running) {
		select {
		case <-p.done:
		case <-patience:
			patience = time.After(0) // over for the others as well
		}
		killGroup(p.cmd.Process) // and whatever it left behind
		<-p.done
	}
	ps.running = nil
}

// runs executes a program to its end and returns its output.
func runs(ctx context.Context, program string, arguments ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ownGroup(cmd)
	cmd.Cancel = func() error { killGroup(cmd.Process); return nil }
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %s: %s", filepath.Base(program), exit.ProcessState, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), err
}

// tail returns the last lines of a log, for a failure.
func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return "  (its log is empty)"
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  " + strings.Join(lines, "\n  ")
}
