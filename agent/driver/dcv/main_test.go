//go:build unix

package dcv_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/agent/driver/dcv"
)

// TestMain is also the fake dcv: tests call this binary by a link of that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "dcv" {
		os.Exit(play(filepath.Dir(os.Args[0]), os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// act is what the fake dcv does for one command.
type act struct {
	Stdout, Stderr string
	Repeat         int // prints Stdout this often; 0 means once
	Exit           int
	Hang           bool // starts a child that hangs too, says so in a file, and never ends
}

// call is one recorded call.
type call struct {
	Arguments   []string
	Permissions *string // content of the file named by --permissions-file or --file
	Mode        os.FileMode
}

func play(folder string, arguments []string) int {
	script, err := os.ReadFile(filepath.Join(folder, "script.json"))
	if err != nil {
		return 99
	}
	var acts map[string]act
	if json.Unmarshal(script, &acts) != nil || len(arguments) == 0 {
		return 98
	}
	record(folder, arguments)
	a := acts[arguments[0]]
	if a.Hang {
		child := exec.Command("sleep", "3600")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr // as a grandchild that keeps the pipes
		if child.Start() == nil {
			part := filepath.Join(folder, "child.part")
			_ = os.WriteFile(part, []byte(fmt.Sprint(child.Process.Pid)), 0o600)
			_ = os.Rename(part, filepath.Join(folder, "child"))
		}
		select {}
	}
	for range max(1, a.Repeat) {
		fmt.Fprint(os.Stdout, a.Stdout)
	}
	fmt.Fprint(os.Stderr, a.Stderr)
	return a.Exit
}

func record(folder string, arguments []string) {
	c := call{Arguments: arguments}
	for i, a := range arguments[:len(arguments)-1] {
		if a == "--permissions-file" || a == "--file" {
			content, _ := os.ReadFile(arguments[i+1])
			text := string(content)
			c.Permissions = &text
			if info, err := os.Stat(arguments[i+1]); err == nil {
				c.Mode = info.Mode().Perm()
			}
		}
	}
	line, _ := json.Marshal(c)
	f, err := os.OpenFile(filepath.Join(folder, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(append(line, '\n'))
}

// stage is a host with a scripted dcv.
type stage struct {
	t      *testing.T
	folder string
	config dcv.Config
}

func newStage(t *testing.T, acts map[string]act) *stage {
	t.Helper()
	s := &stage{t: t, folder: t.TempDir()}
	binary, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(binary, filepath.Join(s.folder, "dcv")))
	for _, sub := range []string{"init", "autorun", "work"} {
		require.NoError(t, os.Mkdir(filepath.Join(s.folder, sub), 0o755))
	}
	s.config = dcv.Config{
		Command:       filepath.Join(s.folder, "dcv"),
		ServerConfig:  filepath.Join(s.folder, "dcv.conf"),
		InitFolder:    filepath.Join(s.folder, "init"),
		AutorunFolder: filepath.Join(s.folder, "autorun"),
		WorkFolder:    filepath.Join(s.folder, "work"),
		System:        "linux",
	}
	s.script(acts)
	return s
}

func (s *stage) script(acts map[string]act) {
	s.t.Helper()
	content, err := json.Marshal(acts)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(s.folder, "script.json"), content, 0o600))
}

func (s *stage) driver() *dcv.Driver {
	s.t.Helper()
	d, err := dcv.New(s.config)
	require.NoError(s.t, err)
	return d
}

func (s *stage) calls() []call {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.folder, "calls"))
	require.NoError(s.t, err)
	var calls []call
	for line := range strings.Lines(string(content)) {
		var c call
		require.NoError(s.t, json.Unmarshal([]byte(line), &c))
		calls = append(calls, c)
	}
	return calls
}

func (s *stage) file(path, content string, mode os.FileMode) string {
	s.t.Helper()
	path = filepath.Join(s.folder, path)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, []byte(content), mode))
	require.NoError(s.t, os.Chmod(path, mode))
	return path
}
