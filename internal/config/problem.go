package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrInvalid is in the chain of every error that the operator cures by editing a file.
var ErrInvalid = errors.New("config: invalid configuration")

// Problem is one thing that is wrong with a file, and what to do about it.
type Problem struct {
	File string // "" if there is no file
	Line int    // 1-based; 0 if the problem belongs to no line
	Key  string // "" if the problem belongs to no key
	Text string // what is wrong
	Fix  string // what to write instead
}

// String is "file:line: key: text; fix", without the parts that are missing.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		b.WriteString(p.File + ": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Warning is a problem that does not stop the broker. Level is slog.LevelWarn for
// what weakens or loses something, slog.LevelInfo for what is merely without effect.
type Warning struct {
	Problem
	Level slog.Level
}

// Problems is the error of a configuration that was refused; it names all of them.
type Problems []Problem

// Error has one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (ps Problems) Unwrap() error { return ErrInvalid }
