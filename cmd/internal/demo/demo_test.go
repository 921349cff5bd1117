//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const awaitTime = 90 * time.Second // generous: the machine may be busy

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builds makes all programs once for the tests of one test function.
func builds(t *testing.T) (bin string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds all programs and runs six of them for seconds")
	}
	bin = filepath.Join(t.TempDir(), "bin")
	packages := []string{"."}
	for _, name := range programs {
		packages = append(packages, "../../"+name)
	}
	output, err := exec.Command("go", append([]string{"build", "-o", bin + "/"}, packages...)...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	return bin
}

// show is one demonstration.
type show struct {
	cmd *exec.Cmd
	bin string
	dir string // holds out, and tmp for temporary files
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *show) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *show) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// starts begins a demonstration with the programs of a folder, known to nobody else
// so that processes left over can be told.
func starts(t *testing.T, programs string, env ...string) *show {
	t.Helper()
	return startsWith(t, programs, nil, env...)
}

func startsWith(t *testing.T, programs string, args []string, env ...string) *show {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // a short name: there are Unix sockets below
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &show{bin: filepath.Join(dir, "bin"), dir: dir}
	require.NoError(t, os.Symlink(programs, r.bin))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o700))
	r.cmd = exec.Command(filepath.Join(r.bin, "demo"), append([]string{"-bin", r.bin, "-out", filepath.Join(dir, "out")}, args...)...)
	r.cmd.Env = append(os.Environ(), append([]string{"TMPDIR=" + filepath.Join(dir, "tmp"), "DEMO_KEEP="}, env...)...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// shows waits until a text is in the output.
func (r *show) shows(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(r.output(), text) }, awaitTime, 5*time.Millisecond, "%q in the output", text)
}

// ends waits for the end and returns the exit code.
func (r *show) ends(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(awaitTime, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// leftovers are the processes that mention the demonstration's folder.
func (r *show) leftovers(t *testing.T) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(r.dir+"/")) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// leavesNothing checks for processes and temporary files.
func (r *show) leavesNothing(t *testing.T) {
	t.Helper()
	require.Empty(t, r.leftovers(t))
	files, err := os.ReadDir(filepath.Join(r.dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, files)
}

func TestDemo(t *testing.T) {
	t.Parallel()
	bin := builds(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, string)
	}{
		{"shows a session's life and ends well", wholeLife},
		{"keeps everything running if asked", keepsRunning},
		{"cleans up when interrupted", interrupted},
		{"is survived by nothing when killed", killed},
		{"says which step failed, why, and where the logs are", failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, bin)
		})
	}
}

func wholeLife(t *testing.T, bin string) {
	r := starts(t, bin)
	require.Zero(t, r.ends(t), r.output())
	for _, text := range []string{
		" 1/9 ", " 9/9 ",
		"=> 3 servers AVAILABLE", "=> 3 sessions READY",
		"on host-2   tag:gpu = 'yes'",
		"=> refused: of 3 servers, 2 do not meet the requirements, 1 is full",
		"as alice (connection 1)", "=> the broker counts 1 connection to modelling",
		"screenshot.png, 1280 x 720 pixels",
		"$ kill -9 ", "=> nothing: 3 sessions READY where they were",
		"=> 3 sessions DELETED", "nothing is left running",
	} {
		require.Contains(t, r.output(), text)
	}
	require.NotContains(t, r.output(), "\x1b", "no colours where there is no terminal")
	require.NotRegexp(t, `client-password: \S|Bearer \S`, r.output())
	r.leavesNothing(t)

	file, err := os.Open(filepath.Join(r.dir, "out", "screenshot.png"))
	require.NoError(t, err)
	defer file.Close()
	picture, err := png.Decode(file)
	require.NoError(t, err)
	require.Equal(t, 1280, picture.Bounds().Dx())
}

func keepsRunning(t *testing.T, bin string) {
	r := starts(t, bin, "DEMO_KEEP=1")
	r.shows(t, "Ctrl-C ends it all.")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // self-signed, as the output says
	defer transport.CloseIdleConnections()
	url := regexp.MustCompile(`(?m)^https://\S+$`).FindString(r.output())
	answer, err := (&http.Client{Transport: transport}).Get(url)
	require.NoError(t, err, r.output())
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	played := r.output()[strings.Index(r.output(), "your turn"):]
	commands := regexp.MustCompile(`(?m)^ *\$ (\S*/(?:dcvsm|dcv-devserver) (?:.*\\\n)*.*)$`).FindAllStringSubmatch(played, -1)
	require.Len(t, commands, 6)
	for _, command := range commands {
		output, err := exec.Command("sh", "-c", command[1]).CombinedOutput()
		require.NoError(t, err, "%s\n%s", command[1], output)
	}
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.Zero(t, r.ends(t), r.output())
	r.leavesNothing(t)
}

func interrupted(t *testing.T, bin string) {
	r := starts(t, bin)
	r.shows(t, " 3/9 ")
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitInterrupted, r.ends(t), r.output())
	require.Contains(t, r.output(), "Interrupted. Nothing is left running.")
	r.leavesNothing(t)
}

func killed(t *testing.T, bin string) {
	r := starts(t, bin)
	r.shows(t, " 6/9 ")
	require.NoError(t, r.cmd.Process.Kill())
	r.ends(t)
	require.Eventually(t, func() bool { return len(r.leftovers(t)) == 0 }, awaitTime, 10*time.Millisecond, "all processes end")
}

func failed(t *testing.T, bin string) {
	broken := t.TempDir()
	for _, name := range append([]string{"demo"}, programs[:]...) {
		if name != agentProgram {
			require.NoError(t, os.Symlink(filepath.Join(bin, name), filepath.Join(broken, name)))
		}
	}
	script := "#!/bin/sh\necho the agent has no legs >&2\nexit 3\n"
	require.NoError(t, os.WriteFile(filepath.Join(broken, agentProgram), []byte(script), 0o700))

	r := starts(t, broken)
	require.Equal(t, exitFailed, r.ends(t), r.output())
	require.Contains(t, r.output(), "Step 3 failed: Start three simulated DCV hosts")
	require.Regexp(t, `agent-\d ended by itself \(exit status 3\)`, r.output())
	require.Contains(t, r.output(), "the agent has no legs")
	logs := filepath.Join(r.dir, "out", "logs")
	require.Contains(t, r.output(), "The logs are in "+logs)
	require.FileExists(t, filepath.Join(logs, "broker.log"))
	r.leavesNothing(t)
}
