package agentproto

import (
	"bytes"
	"fmt"
)

// outline walks over the text once, without building anything, and returns the
// single top-level key as written. It checks only what bounds the work of the
// parser behind it: one key, MaxDepth, MaxValues. The parser judges the grammar.
func outline(data []byte) (string, error) {
	s := scanner{data: data}
	for s.pos < len(data) {
		if err := s.step(); err != nil {
			return "", err
		}
	}
	if s.keys != 1 {
		return "", fmt.Errorf("%w: %d top-level keys, want one", ErrMalformed, s.keys)
	}
	return string(s.name), nil
}

type scanner struct {
	data   []byte
	pos    int
	depth  int
	values int
	keys   int    // colons at depth one
	last   []byte // the latest string at depth one
	name   []byte // the string before the first of those colons
}

// step consumes one character, or one string.
func (s *scanner) step() error {
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"':
		return s.skipString()
	case '{', '[':
		s.depth++
		return s.count()
	case '}', ']':
		s.depth--
	case ',':
		return s.count()
	case ':':
		if s.depth == 1 {
			if s.keys++; s.keys == 1 {
				s.name = s.last
			}
		}
	}
	return nil
}

func (s *scanner) count() error {
	if s.values++; s.values > MaxValues {
		return fmt.Errorf("%w: more than %d values", ErrTooComplex, MaxValues)
	}
	if s.depth > MaxDepth {
		return fmt.Errorf("%w: nested deeper than %d", ErrTooComplex, MaxDepth)
	}
	return nil
}

// skipString moves behind the closing quote. It jumps from quote to quote, since
// nearly all bytes of a large frame are one base64 string.
func (s *scanner) skipString() error {
	start := s.pos
	for {
		n := bytes.IndexByte(s.data[s.pos:], '"')
		if n < 0 {
			return fmt.Errorf("%w: string without end", ErrMalformed)
		}
		end := s.pos + n
		s.pos = end + 1
		if !escaped(s.data[start:end]) {
			if s.depth == 1 {
				s.last = s.data[start:end]
			}
			return nil
		}
	}
}

// escaped reports whether text ends in an odd number of backslashes.
func escaped(text []byte) bool {
	n := len(text)
	for n > 0 && text[n-1] == '\\' {
		n--
	}
	return (len(text)-n)%2 == 1
}
