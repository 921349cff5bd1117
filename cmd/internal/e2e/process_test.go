package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// logbook collects what the processes of one role print, over restarts.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newLogbook is shown if the test fails.
func newLogbook(t *testing.T, name string) *logbook {
	l := &logbook{}
	showOnFailure(t, name, l.String)
	return l
}

// showOnFailure logs the end of a text if the test fails.
func showOnFailure(t *testing.T, name string, text func() string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		keepWhole(t, name, text)
		const most = 80
		lines := strings.Split(strings.TrimSpace(text()), "\n")
		t.Logf("log of %s, last %d of %d lines:\n%s", name, min(most, len(lines)), len(lines),
			strings.Join(lines[max(0, len(lines)-most):], "\n"))
	})
}

// keepWhole writes a whole text to the folder that E2E_LOGS names, if it does.
func keepWhole(t *testing.T, name string, text func() string) {
	folder := os.Getenv("E2E_LOGS")
	if folder == "" {
		return
	}
	file, err := os.CreateTemp(folder, t.Name()+"-"+strings.ReplaceAll(name, " ", "-")+"-*.log")
	if err != nil {
		t.Log(err)
		return
	}
	defer file.Close()
	_, _ = file.WriteString(text())
}

// process is a program with a process group of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs a program until stop, kill or the end of the test.
func start(t *testing.T, log *logbook, name string, args ...string) *process {
	t.Helper()
	return startAt(t, nil, log, name, args...)
}

func startAt(t *testing.T, place *site, log *logbook, name string, args ...string) *process {
	t.Helper()
	argv := place.inside(program(t, name), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	cmd.Env = environment()
	cmd.WaitDelay = time.Second // a killed agent may leave a dcv command that holds the pipe
	require.NoError(t, cmd.Start(), name)
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // its exit code is looked at where it matters
	}()
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9 of the process and its children.
func (p *process) kill() {
	killGroup(p.cmd.Process) // fails if it is gone already
	<-p.done
}

// environment keeps agents from asking a cloud about the machine the tests run on.
func environment() []string { return append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true") }

// stop asks the process to end and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	askToEnd(p.cmd.Process)
	return p.exitCode()
}

// exitCode waits for the end of the process.
func (p *process) exitCode() int {
	p.t.Helper()
	await(p.t, "the end of "+p.cmd.Path, func() error {
		select {
		case <-p.done:
			return nil
		default:
			return errors.New("it still runs")
		}
	})
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// outcome is what a command that ends by itself left.
type outcome struct {
	code           int
	stdout, stderr string
}

// command runs a program to its end.
func command(t *testing.T, name string, args ...string) outcome {
	t.Helper()
	return commandAt(t, nil, name, args...)
}

func commandAt(t *testing.T, place *site, name string, args ...string) outcome {
	t.Helper()
	argv := place.inside(program(t, name), args...) // built first, which may take its time
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = ownGroup()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
