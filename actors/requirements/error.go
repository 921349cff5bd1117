package requirements

import (
	"fmt"
	"strings"
)

// The vendor's texts (contract section 5); clients may compare them.
const (
	textPropertyNotFound  = "Server property %s not found"
	textKeyExpected       = "Expected one of tag or server property"
	textUnexpectedContain = "Unexpected CONTAINS operator"
)

// SyntaxError says what is wrong with an expression, and where.
type SyntaxError struct {
	// Column counts characters from 1.
	Column int
	// Text is what is wrong, the vendor's words where they are known.
	Text string
	// Hint says what would be right; it may be empty.
	Hint string
}

// Error gives everything in one line.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("requirements: %s at %s", e.Text, e.Detail())
}

// Detail is what stands beside Text in an answer: the place and the hint.
func (e *SyntaxError) Detail() string {
	if e.Hint == "" {
		return fmt.Sprintf("column %d", e.Column)
	}
	return fmt.Sprintf("column %d: %s", e.Column, e.Hint)
}

// maxEcho bounds in bytes what an error repeats of the input.
const maxEcho = 80

// echo repeats a piece of the input, short and in one printable line.
func echo(s string) string {
	if len(s) > maxEcho {
		return strings.ToValidUTF8(s[:maxEcho], "") + "..."
	}
	return s
}
