package requirements_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// drawExpression writes a random valid expression, with random space and parentheses.
func drawExpression(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", " ", "\t\n"})
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case depth == 0 || kind <= 1:
		return drawKey(t) + space.Draw(t, "space") + drawComparison(t)
	case kind == 2:
		return rapid.SampledFrom([]string{"not", "NOT"}).Draw(t, "not") + "(" + drawExpression(t, depth-1) + ")"
	case kind == 3:
		return "(" + space.Draw(t, "space") + drawExpression(t, depth-1) + ")"
	case kind == 4:
		return drawExpression(t, depth-1) + space.Draw(t, "space") + "and" + space.Draw(t, "space") + drawExpression(t, depth-1)
	}
	return drawExpression(t, depth-1) + " oR " + drawExpression(t, depth-1)
}

func drawKey(t *rapid.T) string {
	keys := append(requirements.Properties(), "tag:a", "tag:b", "tag:and", "tag:dcv:os-family", "tag:dcv:max-virtual-sessions")
	return rapid.SampledFrom(keys).Draw(t, "key")
}

func drawComparison(t *rapid.T) string {
	op := rapid.SampledFrom([]string{"=", "!=", ":=", ">", ">=", "<", "<="}).Draw(t, "op")
	text := rapid.SampledFrom([]string{"", "x", "1", "1.0", "-2e3", "o'neil", "'", "ä\n\x00", "linux"}).Draw(t, "text")
	if op == ":=" || rapid.Bool().Draw(t, "quoted") {
		return op + "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return op + rapid.SampledFrom([]string{"0", "+1", "1.0", "-2E3", "3e-1"}).Draw(t, "number")
}

func drawView(t *rapid.T) *messages.ServerView {
	text := rapid.SampledFrom([]string{"", "x", "1", "1.0", "-2000", "o'neil", "linux", "windows"})
	v := &messages.ServerView{Id: text.Draw(t, "id")}
	if rapid.Bool().Draw(t, "facts") {
		v.Facts = &messages.ServerFacts{
			Hostname:           text.Draw(t, "hostname"),
			Os:                 &messages.Os{Family: text.Draw(t, "family")},
			Aws:                &messages.Aws{Ec2InstanceId: text.Draw(t, "instance")},
			Tags:               rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "and", "dcv:x"}), text).Draw(t, "tags"),
			MaxVirtualSessions: rapid.Int32Range(-1, 2).Draw(t, "virtual"),
		}
	}
	return v
}

func TestString_ParsesToTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, err := requirements.Parse(drawExpression(t, 5))
		require.NoError(t, err)
		again, err := requirements.Parse(e.String())
		require.NoError(t, err, e.String())
		require.Equal(t, e, again)
		require.Equal(t, e.String(), again.String())
	})
}

// An index filled with Equalities never hides a server that matches.
func TestRequired_IsAmongTheEqualitiesOfEveryMatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, err := requirements.Parse(drawExpression(t, 2))
		require.NoError(t, err)
		v := drawView(t)
		has := requirements.Equalities(v)
		all := true
		for _, needed := range e.Required() {
			all = all && slices.Contains(has, needed)
		}
		require.False(t, e.Matches(v) && !all, "%s would be missed", e)
	})
}

// SameFacts promises that no expression tells the two apart, load aside.
func TestSameFacts_NoExpressionTellsThemApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, err := requirements.Parse(drawExpression(t, 2))
		require.NoError(t, err)
		a, b := drawView(t), drawView(t)
		b.Id = a.Id
		if !e.DependsOnLoad() && requirements.SameFacts(a, b) {
			require.Equal(t, e.Matches(a), e.Matches(b), e.String())
		}
	})
}

func TestDependsOnLoad(t *testing.T) {
	t.Parallel()
	loads := 0
	for _, name := range requirements.Properties() {
		e, err := requirements.Parse("tag:a = 'x' or not (" + name + " = 1)")
		require.NoError(t, err)
		if e.DependsOnLoad() {
			loads++
		}
	}
	require.Equal(t, 5, loads, "used memory and swap, three load averages")
	require.False(t, (*requirements.Expr)(nil).DependsOnLoad())
}

// Explain is empty exactly if the server matches, and what it says is not met.
func TestExplain_SaysSomethingTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, err := requirements.Parse(drawExpression(t, 3))
		require.NoError(t, err)
		v := drawView(t)
		why := e.Explain(v)
		require.Equal(t, e.Matches(v), why == "")
		part, err := requirements.Parse(why)
		require.NoError(t, err)
		require.Equal(t, why == "", part.Matches(v))
	})
}

// FuzzParse: no input panics; what parses prints to the same; what does not says
// where within the input.
func FuzzParse(f *testing.F) {
	for input := range valid {
		f.Add(input)
	}
	for _, input := range []string{
		"server:Ip = '1.1.1.1'", "not not tag:a='b'", "tag:a = 'it's'", "tag:a := 4", "((((", "tag:a = 1e999",
		"\xff", "tag:dcv:\x00", "andnotandnot", "tag:a='b'andnot(tag:c=1)", "tag:a=4.e", "tag:a=-", "server:Host..Os='x'",
	} {
		f.Add(input)
	}
	view := linuxServer()
	f.Fuzz(func(t *testing.T, input string) {
		e, err := requirements.Parse(input)
		if err != nil {
			var wrong *requirements.SyntaxError
			require.ErrorAs(t, err, &wrong)
			require.GreaterOrEqual(t, wrong.Column, 1)
			require.LessOrEqual(t, wrong.Column, len(input)+1)
			require.Less(t, len(err.Error()), 500)
			return
		}
		e.Matches(view)
		again, err := requirements.Parse(e.String())
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}
