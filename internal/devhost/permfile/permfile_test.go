package permfile_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost/permfile"
)

func allowed(t *testing.T, text, user string) []string {
	t.Helper()
	f, err := permfile.Parse(text)
	require.NoError(t, err)
	return slices.Sorted(maps.Keys(f.Allowed(user, "olivia")))
}

func TestDefault_IsForTheOwnerOnly(t *testing.T) {
	t.Parallel()
	require.Contains(t, allowed(t, permfile.Default, "olivia"), "display")
	require.Empty(t, allowed(t, permfile.Default, "mallory"))
}

func TestParse_EmptyFileRevokesEverything(t *testing.T) {
	t.Parallel()
	require.Empty(t, allowed(t, "", "olivia"))
}

func TestAllowed_FollowsTheRules(t *testing.T) {
	t.Parallel()
	const guide = `
; groups may hold users and groups
[groups]
team = john, user:jane, group:observers
observers = DOMAIN\tom, group:team
[aliases]
files = file-upload, file-download, clips
clips = clipboard-copy, files
[permissions]
john allow display files
`
	for name, c := range map[string]struct {
		rules, user string
		want        []string
	}{
		"alias with a circle":      {"", "john", []string{"clipboard-copy", "display", "file-download", "file-upload"}},
		"nobody else":              {"", "jane", nil},
		"group":                    {"group:team allow display\n", "jane", []string{"display"}},
		"group in a group":         {"group:team allow display\n", `DOMAIN\tom`, []string{"display"}},
		"anybody":                  {"%any% allow mouse\n", "zoe", []string{"mouse"}},
		"disallow can be undone":   {"jane allow mouse\njane disallow mouse\njane allow mouse\n", "jane", []string{"mouse"}},
		"disallow takes away":      {"jane allow mouse touch\njane disallow mouse\n", "jane", []string{"touch"}},
		"deny cannot be undone":    {"jane deny mouse\njane allow mouse touch\n", "jane", []string{"touch"}},
		"os groups are not known":  {"osgroup:staff allow builtin\n", "jane", nil},
		"unknown group is nobody":  {"group:none allow builtin\n", "jane", nil},
		"everything denied to all": {"%any% deny builtin files\n", "john", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := allowed(t, guide+c.rules, c.user)
			require.Equal(t, len(c.want), len(got))
			require.ElementsMatch(t, c.want, got)
		})
	}
}

func TestParse_NamesTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"john allow display":                         "line 1: text before the first section",
		"[permissions]\njohn allow":                  "line 2: want actor",
		"[permissions]\njohn permits display":        "unknown rule",
		"[weather]\n":                                "unknown section",
		"[groups]\nteam":                             "line 2: want name=member",
		"#import /etc/shadow":                        "#import is not supported",
		strings.Repeat("#\n", 20_000):                "more than 2000 lines",
		"[aliases]\na=" + strings.Repeat("b,", 2000): "members of aliases",
		strings.Repeat("#", permfile.MaxBytes+10):    "larger than",
	} {
		_, err := permfile.Parse(text)
		require.ErrorIs(t, err, permfile.ErrSyntax)
		require.ErrorContains(t, err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(permfile.Default, "olivia")
	f.Add("[groups]\na=group:a,b\n[aliases]\nx=x,y\n[permissions]\ngroup:a allow x\nb deny y\n", "b")
	f.Fuzz(func(t *testing.T, text, user string) {
		file, err := permfile.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, permfile.ErrSyntax)
			return
		}
		if !strings.Contains(text, "allow") {
			require.Empty(t, file.Allowed(user, "olivia"))
		}
		file.Allowed(user, user)
	})
}
