//go:build fleet

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// baseTag marks the oldest commit that works in a fleet with this source: the last
// release, once there is one.
const baseTag = "skew-base"

// F47: upgrade from the marked commit to this one, and back, under load. Where the
// history does not know the tag this cannot be tried.
func TestFleet_IsUpgradedFromTheMarkedCommit(t *testing.T) {
	t.Parallel()
	before := buildCommit(t, baseTag)
	f := startFleetOf(t, 6, before.broker, before.broker, before.broker)
	load := f.load(4)
	load.awaitAccepted(40)
	f.upgrade(load, current)
	f.upgrade(load, before)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.NotContains(t, f.logs(), "panic")
}

// buildCommit makes the programs of another commit.
func buildCommit(t *testing.T, revision string) release {
	t.Helper()
	id, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--verify", "--quiet", revision+"^{commit}").Output()
	if err != nil {
		t.Skipf("SKIPPED: git knows no %q here, so no earlier version is tried; tag the last release with it", revision)
	}
	t.Logf("%s is %s", revision, bytes.TrimSpace(id))
	root, out := t.TempDir(), filepath.Join(scratch, revision)
	archive := exec.CommandContext(t.Context(), "git", "archive", "--format=tar", strings.TrimSpace(string(id)))
	archive.Dir = filepath.Join("..", "..", "..")
	source, err := archive.Output()
	require.NoError(t, err)
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", root)
	unpack.Stdin = bytes.NewReader(source)
	text, err := unpack.CombinedOutput()
	require.NoError(t, err, "%s", text)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out+string(filepath.Separator), "./cmd/"+brokerProgram, "./cmd/"+agentProgram)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	text, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	return release{broker: filepath.Join(out, brokerProgram), agent: filepath.Join(out, agentProgram)}
}
