//go:build unix

package dcv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// F31: whatever the arguments and the paths, sh hands them to the program unchanged.
func TestWrapperScript_QuotingIsExact(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "it's a $(folder)")
	require.NoError(t, os.Mkdir(folder, 0o755))
	program, out := filepath.Join(folder, "app.sh"), filepath.Join(folder, "out")
	require.NoError(t, create(program, "#!/bin/sh\nprintf '%s\\0' \"$@\" > \"$(dirname \"$0\")/out\"\n", 0o755))
	argument := rapid.StringOfN(rapid.RuneFrom([]rune("ab '\"\\$`;&|<>*?~#\n\t-=é世")), 0, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		arguments := rapid.SliceOfN(argument, 1, 5).Draw(t, "arguments")
		script := wrapperScript(filepath.Join(folder, "no init"), program, arguments)
		if err := exec.Command("sh", "-c", script).Run(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out)
		if err != nil || string(got) != strings.Join(arguments, "\x00")+"\x00" {
			t.Fatalf("got %q for %q (%v)", got, arguments, err)
		}
	})
}
