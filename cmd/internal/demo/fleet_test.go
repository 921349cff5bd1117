//go:build fleet && linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemoFleet(t *testing.T) {
	t.Parallel()
	bin := builds(t)
	consul, err := filepath.Abs("../../../bin/consul")
	require.NoError(t, err)
	require.FileExists(t, consul, "run make tools")
	require.NoError(t, os.Symlink(consul, filepath.Join(bin, consulProgram)))
	for _, c := range []struct {
		name string
		test func(*testing.T, string)
	}{
		{"loses nothing and ends well", fleetLosesNothing},
		{"keeps everything running if asked", fleetKeepsRunning},
		{"says what is missing", fleetIsMissingSomething},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, bin) }) // one after the other: each is ten processes
	}
}

var fleetOf = []string{"-fleet", "-deploy", "../../../deploy"}

func fleetLosesNothing(t *testing.T, bin string) {
	r := startsWith(t, bin, fleetOf)
	require.Zero(t, r.ends(t), r.output())
	for _, text := range []string{
		" 1/10 ", "10/10 ",
		"=> 6 servers AVAILABLE", "=> 6 sessions READY, and every broker shows all of them",
		"$ kill -9 ", " and 0 failed", "=> nothing was lost: all of the ",
		"is a member again after ", "=> new sessions are accepted again",
		"=> 7 sessions DELETED", "nothing is left running",
	} {
		require.Contains(t, r.output(), text)
	}
	require.NotRegexp(t, `client-password: \S|Bearer \S`, r.output())
	r.leavesNothing(t)
}

func fleetKeepsRunning(t *testing.T, bin string) {
	r := startsWith(t, bin, fleetOf, "DEMO_KEEP=1")
	r.shows(t, "Ctrl-C ends it all.")
	played := r.output()[strings.Index(r.output(), "your turn"):]
	commands := regexp.MustCompile(`(?m)^ *\$ (\S*/(?:dcvsm|consul) (?:.*\\\n)*.*)$`).FindAllStringSubmatch(played, -1)
	require.Len(t, commands, 4)
	for _, command := range commands {
		output, err := exec.Command("sh", "-c", command[1]).CombinedOutput()
		require.NoError(t, err, "%s\n%s", command[1], output)
	}
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.Zero(t, r.ends(t), r.output())
	r.leavesNothing(t)
}

func fleetIsMissingSomething(t *testing.T, bin string) {
	r := startsWith(t, bin, fleetOf, "PATH=/nowhere")
	require.Equal(t, exitFailed, r.ends(t), r.output())
	require.Contains(t, r.output(), "apt-get install haproxy")
	r.leavesNothing(t)

	without := t.TempDir()
	for _, name := range append([]string{"demo"}, programs[:]...) {
		require.NoError(t, os.Symlink(filepath.Join(bin, name), filepath.Join(without, name)))
	}
	r = startsWith(t, without, fleetOf)
	require.Equal(t, exitFailed, r.ends(t), r.output())
	require.Contains(t, r.output(), "make tools builds it")
	r.leavesNothing(t)
}
