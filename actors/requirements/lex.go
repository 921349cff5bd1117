package requirements

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenTag                // text is the key without "tag:"
	tokenServer             // text is the key with "server:"
	tokenString             // text is the value without quotes
	tokenNumber             // text as written
	tokenOperator           // text is one of the operators
	tokenAnd
	tokenOr
	tokenNot
	tokenOpen
	tokenClose
	tokenWord // a bare word: never valid, but it makes better errors
)

type token struct {
	kind  tokenKind
	text  string
	start int // in bytes
}

const (
	tagPrefix    = "tag:"
	serverPrefix = "server:"
)

// lexer cuts the input into tokens, one at a time. As in the vendor's grammar, a
// token ends where it cannot go on: no space is needed anywhere.
type lexer struct {
	input string
	at    int // in bytes
}

// column turns a place in bytes into one in characters, from 1.
func (l *lexer) column(at int) int { return utf8.RuneCountInString(l.input[:at]) + 1 }

func (l *lexer) fail(at int, hint, format string, args ...any) *SyntaxError {
	return &SyntaxError{Column: l.column(at), Text: fmt.Sprintf(format, args...), Hint: hint}
}

func (l *lexer) next() (token, *SyntaxError) {
	for l.at < len(l.input) && strings.IndexByte(" \t\r\n", l.input[l.at]) >= 0 {
		l.at++
	}
	start, rest := l.at, l.input[l.at:]
	if rest == "" {
		return token{kind: tokenEnd, start: start}, nil
	}
	switch c := rest[0]; {
	case c == '(':
		return l.take(tokenOpen, 1), nil
	case c == ')':
		return l.take(tokenClose, 1), nil
	case c == '\'':
		return l.quoted()
	case strings.HasPrefix(rest, tagPrefix):
		return l.tagKey()
	case strings.HasPrefix(rest, serverPrefix):
		return l.serverKey()
	case isWord(c) && !isDigit(c):
		kind, n := wordAt(rest)
		return l.take(kind, n), nil
	}
	if n := operatorAt(rest); n > 0 {
		return l.take(tokenOperator, n), nil
	}
	if n := numberAt(rest); n > 0 {
		return l.take(tokenNumber, n), nil
	}
	return token{}, l.strange(start)
}

func (l *lexer) take(kind tokenKind, n int) token {
	t := token{kind: kind, text: l.input[l.at : l.at+n], start: l.at}
	l.at += n
	return t
}

// strange is the error for a character no token starts with.
func (l *lexer) strange(at int) *SyntaxError {
	r, _ := utf8.DecodeRuneInString(l.input[at:])
	hint := ""
	switch r {
	case '"', '`', '\u2018', '\u2019', '\u201c', '\u201d':
		hint = "values stand between single quotes: '...'"
	case '&', '|', ',', ';':
		hint = "terms are joined by and, or"
	case '!':
		hint = "use != or not"
	case ':':
		hint = "contains is written :="
	}
	return l.fail(at, hint, "Unexpected %q", r)
}

// quoted reads 'a value', in which two quotes stand for one.
func (l *lexer) quoted() (token, *SyntaxError) {
	for i := l.at + 1; i < len(l.input); i++ {
		if l.input[i] != '\'' {
			continue
		}
		if i+1 < len(l.input) && l.input[i+1] == '\'' {
			i++
			continue
		}
		t := l.take(tokenString, i+1-l.at)
		t.text = strings.ReplaceAll(t.text[1:len(t.text)-1], "''", "'")
		return t, nil
	}
	return token{}, l.fail(l.at, "a quote inside a value is written twice: 'o''neil'", "Unbalanced quote")
}

func (l *lexer) tagKey() (token, *SyntaxError) {
	start := l.at
	name := l.input[start+len(tagPrefix):]
	n := tagNameAt(name)
	if n == 0 {
		return token{}, l.fail(start, "a tag name starts with a letter or _", "Expected a tag name")
	}
	if n < len(name) && (name[n] == '-' || name[n] == '.') {
		return token{}, l.fail(start+len(tagPrefix)+n,
			"a tag name holds letters, digits and _; a dash only after dcv:", "Unexpected %q", name[n])
	}
	t := l.take(tokenTag, len(tagPrefix)+n)
	t.text = t.text[len(tagPrefix):]
	return t, nil
}

func tagNameAt(s string) int {
	if name, system := strings.CutPrefix(s, systemPrefix); system {
		n := 0
		for n < len(name) && (isWord(name[n]) || name[n] == '-') {
			n++
		}
		if n > 0 {
			return len(systemPrefix) + n
		}
	}
	if s == "" || !isWord(s[0]) || isDigit(s[0]) {
		return 0
	}
	n := 1
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return n
}

func (l *lexer) serverKey() (token, *SyntaxError) {
	rest := l.input[l.at:]
	n := len(serverPrefix)
	for n < len(rest) && isLetter(rest[n]) {
		for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n])) {
			n++
		}
		if n+1 >= len(rest) || rest[n] != '.' || !isLetter(rest[n+1]) {
			return l.take(tokenServer, n), nil
		}
		n++
	}
	return token{}, l.fail(l.at, "for instance server:Host.Os.Family", "Expected a server property name")
}

// wordAt reads a keyword, which may touch what follows it, or a bare word.
func wordAt(s string) (tokenKind, int) {
	n := 0
	for n < len(s) && isWord(s[n]) {
		n++
	}
	for _, k := range [...]struct {
		word string
		kind tokenKind
	}{{"and", tokenAnd}, {"or", tokenOr}, {"not", tokenNot}} {
		if n < len(k.word) || !strings.EqualFold(s[:len(k.word)], k.word) {
			continue
		}
		if n == len(k.word) || keyAt(s[len(k.word):]) {
			return k.kind, len(k.word)
		}
	}
	return tokenWord, n
}

// keyAt says whether a key, perhaps negated, starts here.
func keyAt(s string) bool {
	if len(s) > 3 && strings.EqualFold(s[:3], "not") {
		if s[3] == '(' || !isWord(s[3]) {
			return true
		}
		s = s[3:]
	}
	return strings.HasPrefix(s, tagPrefix) || strings.HasPrefix(s, serverPrefix)
}

func operatorAt(s string) int {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return len(op)
		}
	}
	return 0
}

// numberAt is the length of the number s starts with: [+-]? digits [. digits]
// [e [+-]? digits].
func numberAt(s string) int {
	n := signAt(s)
	digits := digitsAt(s[n:])
	if digits == 0 {
		return 0
	}
	n += digits
	if n < len(s) && s[n] == '.' {
		if digits := digitsAt(s[n+1:]); digits > 0 {
			n += 1 + digits
		}
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		sign := signAt(s[n+1:])
		if digits := digitsAt(s[n+1+sign:]); digits > 0 {
			n += 1 + sign + digits
		}
	}
	return n
}

func signAt(s string) int {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return 1
	}
	return 0
}

func digitsAt(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }
