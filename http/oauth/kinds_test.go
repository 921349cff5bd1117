package oauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
)

// Whoever adds a kind of record must say so in Kinds, or a store that lost its data gets
// it back without those records.
func TestKinds_NamesEveryKindOfRecord(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var kinds []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "kind") {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				kind, err := strconv.Unquote(literal.Value)
				require.NoError(t, err)
				kinds = append(kinds, kind)
			}
			return true
		})
	}
	require.NotEmpty(t, kinds)
	require.ElementsMatch(t, kinds, oauth.Kinds())
}
