package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// scratch is the folder of the built programs, made and removed by TestMain.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "e2e-programs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// build makes the four programs, once for all stories.
var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", scratch+string(filepath.Separator), "./cmd/...")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

// program is the path of a built program; that of another version has one already.
func program(t *testing.T, name string) string {
	t.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	require.NoError(t, build(), "go build ./cmd/...")
	return filepath.Join(scratch, name)
}

const (
	brokerProgram = "dcv-session-manager-broker"
	agentProgram  = "dcv-session-manager-agent"
	hostProgram   = "dcv-devserver"
	clientProgram = "dcvsm"
)

// long skips a story in short runs.
func long(t *testing.T, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short runs: " + why)
	}
}
