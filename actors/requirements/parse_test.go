package requirements_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/requirements"
)

var update = flag.Bool("update", false, "write the answers in testdata")

// valid are the expressions contract section 5 calls valid, and what they are printed as.
var valid = map[string]string{
	"":        "",
	" \t\r\n": "",
	"tag:color = 'pink' and (server:Host.Os.Family = 'windows' or tag:color := 'red')":  "tag:color = 'pink' and (server:Host.Os.Family = 'windows' or tag:color := 'red')",
	"server:Host.Aws.Ec2InstanceType := 't2' and server:Host.CpuInfo.NumberOfCpus >= 2": "server:Host.Aws.Ec2InstanceType := 't2' and server:Host.CpuInfo.NumberOfCpus >= 2",
	"server:Host.Memory.TotalBytes > 1024E6":                                            "server:Host.Memory.TotalBytes > 1024E6",
	"tag:dcv:max-virtual-sessions = '10'":                                               "tag:dcv:max-virtual-sessions = '10'",
	"tag:name = 'o''neil'":                                                              "tag:name = 'o''neil'",
	"NOT tag:a='' Or tag:b != 'x'":                                                      "not tag:a = '' or tag:b != 'x'",
	"tag:idea_session_id='5a1c'":                                                        "tag:idea_session_id = '5a1c'",
	"server:Id = 'aG9zdA=='":                                                            "server:Id = 'aG9zdA=='",
	"server:Host.Aws.Ec2InstanceId = 'i-0123456789abcde'":                               "server:Host.Aws.Ec2InstanceId = 'i-0123456789abcde'",

	// No space is needed anywhere, and parentheses that change nothing go.
	"tag:a='b'andtag:c='d'ornottag:e=4or(tag:f<-1.5e+3)": "tag:a = 'b' and tag:c = 'd' or not tag:e = 4 or tag:f < -1.5e+3",
	"((tag:a='1') AND ((tag:b='2' and tag:c='3')))":      "tag:a = '1' and tag:b = '2' and tag:c = '3'",
	"not (tag:a='1' and not (not tag:b='2'))":            "not (tag:a = '1' and not (not tag:b = '2'))",
	"tag:dcv:='x'":                        "tag:dcv := 'x'",
	"tag:_x1 = '()and'":                   "tag:_x1 = '()and'",
	"tag:order = 'x' and tag:notes = 'y'": "tag:order = 'x' and tag:notes = 'y'",
}

func TestParse_ValidExpressions(t *testing.T) {
	t.Parallel()
	for input, printed := range valid {
		e, err := requirements.Parse(input)
		require.NoError(t, err, input)
		require.Equal(t, printed, e.String(), input)
	}
}

// F32, C23: each refusal says where and, if it can, what was meant.
func TestParse_BadExpressionsWithTheirMessages(t *testing.T) {
	t.Parallel()
	const file = "testdata/bad.txt"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var answers strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue
		}
		answers.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		_, err := requirements.Parse(line)
		require.Error(t, err, line)
		answers.WriteString("\t" + strings.TrimPrefix(err.Error(), "requirements: ") + "\n")
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(answers.String()), 0o644))
		return
	}
	require.Equal(t, answers.String(), string(text))
}

func TestParse_VendorTextsAreExact(t *testing.T) {
	t.Parallel()
	for input, text := range map[string]string{
		"tag:a = 'x' or server:Ip = '1.1.1.1'": "Server property server:Ip not found",
		"'pink' = tag:color":                   "Expected one of tag or server property",
		"tag:n := 4":                           "Unexpected CONTAINS operator",
	} {
		var wrong *requirements.SyntaxError
		_, err := requirements.Parse(input)
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, text, wrong.Text)
	}
}

func TestParse_ColumnsCountCharacters(t *testing.T) {
	t.Parallel()
	var wrong *requirements.SyntaxError
	_, err := requirements.Parse("tag:a = 'äöü' and server:Quux = 'x'")
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, 19, wrong.Column)
}

// F32: bounded, whatever comes.
func TestParse_Bounds(t *testing.T) {
	t.Parallel()
	terms := func(n int) string { return strings.TrimSuffix(strings.Repeat("tag:a=1or ", n), "or ") }
	nested := func(n int) string {
		return strings.Repeat("(", n) + "tag:a=1" + strings.Repeat(")", n)
	}
	for name, c := range map[string]struct {
		input string
		ok    bool
	}{
		"terms at the limit":  {terms(requirements.MaxTerms), true},
		"too many terms":      {terms(requirements.MaxTerms + 1), false},
		"depth at the limit":  {nested(requirements.MaxDepth), true},
		"too deep":            {nested(requirements.MaxDepth + 1), false},
		"very deep":           {strings.Repeat("(", requirements.MaxLength), false},
		"too long":            {"tag:a='" + strings.Repeat("x", requirements.MaxLength) + "'", false},
		"length at the limit": {"tag:a='" + strings.Repeat("x", requirements.MaxLength-8) + "'", true},
		"invalid UTF-8":       {"tag:a = '\xff'", false},
		"many nots":           {strings.Repeat("not ", 4000) + "tag:a=1", false},
		"many joined words":   {strings.Repeat("and", 5400), false},
	} {
		_, err := requirements.Parse(c.input)
		if c.ok {
			require.NoError(t, err, name)
			continue
		}
		var wrong *requirements.SyntaxError
		require.True(t, errors.As(err, &wrong), name)
		require.Less(t, len(err.Error()), 400, name)
	}
}

// What is printed too long with spaces is printed without, and parses still.
func TestString_StaysWithinTheLengthThatParses(t *testing.T) {
	t.Parallel()
	input := strings.TrimSuffix(strings.Repeat("tag:long_name_1=1or", 860), "or")
	e, err := requirements.Parse(input)
	require.NoError(t, err)
	require.Equal(t, input, e.String())
	again, err := requirements.Parse(e.String())
	require.NoError(t, err)
	require.Equal(t, e, again)
}

func TestProperties_AllCanBeUsed(t *testing.T) {
	t.Parallel()
	names := requirements.Properties()
	require.Len(t, names, 25)
	for _, name := range names {
		_, err := requirements.Parse(name + " = '1'")
		require.NoError(t, err)
	}
}
