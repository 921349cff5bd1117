package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// codesIn lists the constants of a file that are refusal codes.
func codesIn(t *testing.T, path string) (codes []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		codes = append(codes, code)
		return true
	})
	return codes
}

// C21: every code has a status and a text for every operation.
func TestErrorTable_IsComplete(t *testing.T) {
	t.Parallel()
	codes := append(codesIn(t, "../../messages/codes.go"), codesIn(t, "errors.go")...)
	require.Greater(t, len(codes), 30)
	require.Len(t, verdicts, len(codes), "the table has exactly the codes there are")
	for _, code := range codes {
		v, ok := verdicts[code]
		require.True(t, ok, code)
		require.Contains(t, []int{400, 401, 403, 404, 405, 413, 415, 429, 500, 503}, v.status, code)
		require.NotEmpty(t, v.text, code)
		require.False(t, strings.HasSuffix(v.text, "\n"))
	}
	for special := range texts {
		require.Contains(t, codes, special.code)
	}
}

// The texts clients compare, letter by letter (contract section 17).
func TestErrorTable_ExactTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op   opName
		code string
		text string
	}{
		{opDeleteSessions, messages.CodeSessionNotFound, "The requested dcvSession does not exist"},
		{opUpdatePermissions, messages.CodeSessionNotFound, "The requested dcvSession does not exist"},
		{opScreenshots, messages.CodeSessionNotFound, "Dcv session not found."},
		{opOpenServers, messages.CodeServerNotFound, "Dcv server not found."},
		{opCreateSessions, messages.CodeNoServer, "No DCV server found for the given criteria"},
	} {
		require.Equal(t, c.text, judge(c.op, &messages.Refusal{Code: c.code, Text: "other words"}).text)
	}
	require.Equal(t, 500, judge(opNone, &messages.Refusal{Code: "NEW_CODE", Text: "x"}).status)
}
