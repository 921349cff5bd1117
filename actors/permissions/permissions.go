// Package permissions checks DCV permissions files (contract section 11).
//
// The broker does not interpret them: the agent hands them to the DCV server,
// which knows more about them than this package. It only refuses, with the line,
// what plainly is not a permissions file, so that the mistake shows in the answer
// to the request rather than in a session that nobody can use. Unknown features,
// actors of any shape and comments are let through.
//
// It is pure: no actor, no clock, no I/O.
package permissions

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a file.
const (
	// MaxSize of the decoded file in bytes.
	MaxSize = 64 << 10
	// MaxLine of one line in bytes.
	MaxLine = 8 << 10
)

// Errors of Decode; Check gives a *FormatError or ErrTooLarge.
var (
	ErrTooLarge  = fmt.Errorf("permissions: the file is larger than %d bytes", MaxSize)
	ErrNotBase64 = errors.New("permissions: the file is not encoded in base64")
)

// FormatError says where a file stops being a permissions file.
type FormatError struct {
	// Line counts from 1.
	Line int
	// Problem is what is wrong there. It repeats nothing of the file.
	Problem string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("permissions: line %d: %s", e.Line, e.Problem)
}

// Decode takes a file as clients send it, in base64 with or without padding and
// line ends, and checks it. No file at all is an empty one, which is valid and
// revokes every permission; the result is never nil without an error.
func Decode(encoded string) ([]byte, error) {
	// Line ends add at most one byte in two; more is not looked at.
	if len(encoded) > 2*base64.StdEncoding.EncodedLen(MaxSize) {
		return nil, ErrTooLarge
	}
	compact := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, encoded)
	encoding := base64.StdEncoding
	if len(compact)%4 != 0 {
		encoding = base64.RawStdEncoding
	}
	file, err := encoding.DecodeString(compact)
	if err != nil {
		return nil, ErrNotBase64 // the cause would repeat bytes of the file
	}
	if err := Check(file); err != nil {
		return nil, err
	}
	return file, nil
}

// byteOrderMark is what Windows editors put in front of UTF-8.
var byteOrderMark = []byte("\ufeff")

// Check refuses what plainly is not a permissions file.
func Check(file []byte) error {
	if len(file) > MaxSize {
		return ErrTooLarge
	}
	file = bytes.TrimPrefix(file, byteOrderMark)
	section, number := "", 0
	for line := range bytes.Lines(file) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		problem := readable(line)
		if problem == "" {
			section, problem = checkLine(section, strings.TrimSpace(string(line)))
		}
		if problem != "" {
			return &FormatError{Line: number, Problem: problem}
		}
	}
	return nil
}

// readable gives the problem of a line that is no text.
func readable(line []byte) string {
	switch {
	case len(line) > MaxLine:
		return fmt.Sprintf("longer than %d bytes", MaxLine)
	case !utf8.Valid(line):
		return "not UTF-8"
	case bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "holds a control character"
	}
	return ""
}

// checkLine reads one line within a section and returns the section the next one
// is in.
func checkLine(section, line string) (next, problem string) {
	switch {
	case line == "" || line[0] == '#' || line[0] == ';':
		return section, ""
	case line[0] == '[':
		return header(line)
	case section == "":
		return "", "stands before any section; expected [groups], [aliases] or [permissions]"
	case section == "permissions":
		return section, checkPermission(line)
	}
	if name, _, ok := strings.Cut(line, "="); !ok || strings.TrimSpace(name) == "" {
		return section, "expected name=member, member"
	}
	return section, ""
}

func header(line string) (section, problem string) {
	name, rest, closed := strings.Cut(line[1:], "]")
	if rest = strings.TrimSpace(rest); !closed || rest != "" && rest[0] != '#' && rest[0] != ';' {
		return "", "a section header is not closed"
	}
	switch name = strings.ToLower(strings.TrimSpace(name)); name {
	case "groups", "aliases", "permissions":
		return name, ""
	}
	return "", "unknown section; expected [groups], [aliases] or [permissions]"
}

// checkPermission looks for `<actor> allow|disallow|deny <features>`. An actor
// may hold spaces, and features may be divided by spaces or commas.
func checkPermission(line string) string {
	words := strings.Fields(line)
	rule := 1 // the first word is the actor's, even if he is called "deny"
	for rule < len(words) && !isRule(words[rule]) {
		rule++
	}
	switch {
	case rule < len(words)-1:
		return ""
	case rule == len(words)-1:
		return "no feature after allow, disallow or deny"
	case isRule(words[0]):
		return "no user or group before allow, disallow or deny"
	}
	return "expected: actor allow|disallow|deny features"
}

func isRule(word string) bool {
	switch strings.ToLower(word) {
	case "allow", "disallow", "deny":
		return true
	}
	return false
}
