package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParse_ReadsLinesAsJavaDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       []entry
	}{
		{"three separators", "a=1\nb: 2\nc 3", []entry{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}}},
		{"comments and blank lines", "# x\n\n  ! y\n  a = 1 # kept", []entry{{"a", "1 # kept", 4}}},
		{"continued line", "a = 1,\\\n   2\nb = 3", []entry{{"a", "1,2", 1}, {"b", "3", 3}}},
		{"an even number of backslashes does not continue", "a = 1\\\\\nb = 2", []entry{{"a", "1\\", 1}, {"b", "2", 2}}},
		{"a comment is not continued", "# x \\\na = 1", []entry{{"a", "1", 2}}},
		{"all line ends", "a=1\r\nb=2\rc=3", []entry{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}}},
		{"byte order mark", "\ufeffa = 1", []entry{{"a", "1", 1}}},
		{"escapes", `a\ b = \u0041\=`, []entry{{"a b", "A=", 1}}},
		{"no value", "a\nb =", []entry{{"a", "", 1}, {"b", "", 2}}},
		{"nothing is expanded", "a = ${HOME} ${", []entry{{"a", "${HOME} ${", 1}}},
		{"backslash at the end of the file", `a = 1\`, []entry{{"a", "1", 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, problems := parse("f", []byte(c.text))
			require.Empty(t, problems)
			require.Equal(t, c.want, got)
		})
	}
}

func TestParse_ReportsEachUnreadableLine(t *testing.T) {
	t.Parallel()
	got, problems := parse("f", []byte("a = \\u12\nb = 2\nc = \xff\n= 3\n"))
	require.Equal(t, []entry{{"b", "2", 2}}, got)
	require.Len(t, problems, 3)
	require.Equal(t, "f:1: this line has a broken \\ escape; write \\\\ for a backslash, \\uXXXX with four hex digits for a character", problems[0].String())
	require.Equal(t, 3, problems[1].Line)
	require.Equal(t, 4, problems[2].Line)
}

// Any value that is escaped as Java escapes it comes back unchanged.
func TestParse_ReadsBackWhatWasEscaped(t *testing.T) {
	t.Parallel()
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, " ", `\ `)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.String().Draw(t, "value")
		got, problems := parse("f", []byte("# first\nkey="+escape.Replace(value)))
		require.Empty(t, problems)
		require.Equal(t, []entry{{"key", value, 2}}, got)
	})
}

func TestDidYouMean_FindsMisprintsOfTheGuide(t *testing.T) {
	t.Parallel()
	all := newLoader("").options
	for wrong, want := range map[string]string{
		"client-to-broker-connect-https-port": "client-to-broker-connector-https-port",
		"session-screenshots-max-width":       "session-screenshot-max-width",
		"broker.java.home":                    "broker-java-home",
		"enable-cloudwatch-metrics":           "enable-cloud-watch-metrics",
	} {
		require.Equal(t, "did you mean "+want+"?", didYouMean(wrong, all))
	}
	require.Empty(t, didYouMean("zzz", all))
	require.Empty(t, didYouMean(strings.Repeat("enable", 100), all))
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("a = 1\\\n 2\n#x\nlog-level=debug\n"))
	f.Add([]byte("enable-persistence=true\nenable-authorization : maybe\n"))
	f.Add([]byte("= \\u00zz\n\xff\xfe"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		l := newLoader("f")
		l.take(data)
		l.check()
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		for _, p := range l.problems {
			require.LessOrEqual(t, p.Line, lines)
			require.NotContains(t, p.String(), "\n", "one line per problem")
		}
	})
}
