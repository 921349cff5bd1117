package session

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write the diagram of actors/README.md anew")

const readme = "../README.md"

// The life of a session in actors/README.md is the table of this package, nothing
// else. After a change of the table: go test ./actors/session -run Diagram -rewrite
func TestDiagram_IsTheTable(t *testing.T) {
	source, err := os.ReadFile(readme)
	require.NoError(t, err)
	const begin, end = "<!-- the table of actors/session/state.go; a test writes it -->\n", "<!-- end of the table -->\n"
	before, rest, ok := strings.Cut(string(source), begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := before + begin + diagram() + end + after
	if *rewrite {
		require.NoError(t, os.WriteFile(readme, []byte(want), 0o644))
	}
	require.Equal(t, want, string(source))
}

// diagram is a line for each pair of states, and one for what a state only notes.
func diagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	for _, from := range []State{Fresh, Queued, Placed, Replacing, Ready, Unknown, Deleting, Deleted, Buried} {
		by := map[State][]string{}
		for kind, m := range life[from] {
			if m.next != from {
				by[m.next] = append(by[m.next], string(kind))
			}
		}
		for _, to := range slices.Sorted(maps.Keys(by)) {
			slices.Sort(by[to])
			fmt.Fprintf(&b, "    %s --> %s: %s\n", node(from), node(to), strings.Join(by[to], ", "))
		}
	}
	b.WriteString("```\n\n| State | Notes and stays | Not stored |\n|---|---|---|\n")
	for _, in := range []State{Queued, Placed, Replacing, Ready, Unknown, Deleting, Deleted, Buried} {
		var stays, soft []string
		for kind, m := range life[in] {
			if m.next == in {
				stays = append(stays, string(kind))
			}
			if m.soft {
				soft = append(soft, string(kind))
			}
		}
		slices.Sort(stays)
		slices.Sort(soft)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", in, strings.Join(stays, ", "), strings.Join(soft, ", "))
	}
	return b.String()
}

// node is a state as the diagram calls it: its beginning and end are both [*].
func node(s State) string {
	if s == Fresh || s == Gone {
		return "[*]"
	}
	return string(s)
}
