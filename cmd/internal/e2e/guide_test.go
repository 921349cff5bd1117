//go:build fleet

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// guideText is deploy/README.md, of which tests execute the blocks that have a name: a
// comment `<!-- run: NAME -->` on the line before the block.
type guideText struct {
	t    *testing.T
	text string
}

func guide(t *testing.T) guideText {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "README.md"))
	require.NoError(t, err)
	return guideText{t, string(data)}
}

var named = regexp.MustCompile("(?s)<!-- run: ([^\n]*) -->\n```[a-z]*\n(.*?)```")

// block is the content of a named block.
func (g guideText) block(name string) string {
	g.t.Helper()
	for _, found := range named.FindAllStringSubmatch(g.text, -1) {
		if found[1] == name {
			return found[2]
		}
	}
	g.t.Fatalf("deploy/README.md has no block %q", name)
	return ""
}
