package permissions_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/permissions"
)

var valid = map[string]string{
	"empty":      "",
	"blank":      "\n  \r\n\t\n",
	"comments":   "# nothing\n; nothing either\n",
	"owner":      "[permissions]\n%owner% allow builtin\n",
	"no end":     "[permissions]\n%any% deny clipboard-copy",
	"windows":    "\ufeff[Permissions] ; mine\r\nDOMAIN\\user disallow file-upload, file-download\r\n",
	"sections":   "#import default.perm\n[groups]\nstaff=ann, bob\nempty=\n[aliases]\nfiles = file-upload, file-download\n\n[permissions]\ngroup:staff allow files\nosgroup:wheel allow builtin\n",
	"spaces":     "[permissions]\n  \"Ann Lee\"\tALLOW\tdisplay keyboard pointer  # the rest may not\n",
	"unknown":    "[permissions]\nann@example.org allow a-feature-of-next-year *\n",
	"such names": "[permissions]\nallow deny builtin\ndeny allow allow\n",
	"no rules":   "[permissions]\n",
	"not ASCII":  "[groups]\nzürich=jürgen\n[permissions]\ngroup:zürich allow builtin\n",
	"long line":  "[groups]\ng=" + strings.Repeat("u", permissions.MaxLine-2),
}

func TestCheck_TakesPermissionsFiles(t *testing.T) {
	t.Parallel()
	for name, file := range valid {
		require.NoError(t, permissions.Check([]byte(file)), name)
	}
}

func TestCheck_RefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"hello":                                        "line 1: stands before any section; expected [groups], [aliases] or [permissions]",
		"%owner% allow builtin":                        "line 1: stands before any section; expected [groups], [aliases] or [permissions]",
		"[permissions]\n\nann permit all":              "line 3: expected: actor allow|disallow|deny features",
		"[permissions]\nann allow":                     "line 2: no feature after allow, disallow or deny",
		"[permissions]\nallow builtin":                 "line 2: no user or group before allow, disallow or deny",
		"[permissions\nann allow builtin":              "line 1: a section header is not closed",
		"[permissions] x\nann allow builtin":           "line 1: a section header is not closed",
		"# mine\n[permission]\nann allow x":            "line 2: unknown section; expected [groups], [aliases] or [permissions]",
		"[]":                                           "line 1: unknown section; expected [groups], [aliases] or [permissions]",
		"[groups]\nstaff: ann":                         "line 2: expected name=member, member",
		"[groups]\n=ann":                               "line 2: expected name=member, member",
		"[permissions]\nann allow x\x00":               "line 2: holds a control character",
		"\x7fELF\x02\x01\x01\x00":                      "line 1: holds a control character",
		"[permissions]\n\xff\xfe allow x":              "line 2: not UTF-8",
		"[permissions]\rann allow x":                   "line 1: holds a control character",
		"#" + strings.Repeat("x", permissions.MaxLine): "line 1: longer than 8192 bytes",
	} {
		var wrong *permissions.FormatError
		err := permissions.Check([]byte(file))
		require.ErrorAs(t, err, &wrong, "%q", file)
		require.Equal(t, "permissions: "+want, err.Error())
	}
}

func TestDecode_AnEmptyFileIsAFile(t *testing.T) {
	t.Parallel()
	file, err := permissions.Decode("")
	require.NoError(t, err)
	require.NotNil(t, file, "present and empty revokes everything; absent is another thing")
	require.Empty(t, file)
}

func TestDecode_TakesEveryUsualBase64(t *testing.T) {
	t.Parallel()
	const text = "[permissions]\n%owner% allow builtin\n%any% deny clipboard-paste ?>\n"
	padded := base64.StdEncoding.EncodeToString([]byte(text))
	for name, encoded := range map[string]string{
		"padded":     padded,
		"not padded": strings.TrimRight(padded, "="),
		"wrapped":    padded[:40] + "\r\n" + padded[40:] + "\n",
	} {
		file, err := permissions.Decode(encoded)
		require.NoError(t, err, name)
		require.Equal(t, text, string(file), name)
	}
}

func TestDecode_Bounds(t *testing.T) {
	t.Parallel()
	line := "# " + strings.Repeat("x", 125) + "\n"
	whole := strings.Repeat(line, permissions.MaxSize/len(line))
	require.Len(t, whole, permissions.MaxSize)
	_, err := permissions.Decode(base64.StdEncoding.EncodeToString([]byte(whole)))
	require.NoError(t, err)
	_, err = permissions.Decode(base64.StdEncoding.EncodeToString([]byte(whole + "#")))
	require.ErrorIs(t, err, permissions.ErrTooLarge)
	_, err = permissions.Decode(strings.Repeat("!", 1<<20))
	require.ErrorIs(t, err, permissions.ErrTooLarge)
	for _, bad := range []string{"!", "[permissions]", "QQ=", "Q", "====", "QUJD\x00QUJD"} {
		_, err = permissions.Decode(bad)
		require.ErrorIs(t, err, permissions.ErrNotBase64, bad)
	}
}

// FuzzDecode: nothing panics, and what is accepted is accepted again as decoded.
func FuzzDecode(f *testing.F) {
	for _, file := range valid {
		f.Add(base64.StdEncoding.EncodeToString([]byte(file)))
	}
	for _, file := range []string{"[x]", "[permissions]\nann", "\x00", "[", "[permissions]\nallow"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(file)))
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		file, err := permissions.Decode(encoded)
		if err != nil {
			require.Nil(t, file)
			require.Less(t, len(err.Error()), 200)
			return
		}
		require.LessOrEqual(t, len(file), permissions.MaxSize)
		require.NoError(t, permissions.Check(file))
	})
}

// FuzzCheck reaches the lines, which random base64 seldom does.
func FuzzCheck(f *testing.F) {
	for _, file := range valid {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		err := permissions.Check(file)
		again, decodeErr := permissions.Decode(base64.StdEncoding.EncodeToString(file))
		require.Equal(t, err, decodeErr)
		if err == nil {
			require.Equal(t, len(file), len(again))
		}
	})
}
