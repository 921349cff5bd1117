package requirements

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of an expression (F32).
const (
	// MaxLength in bytes.
	MaxLength = 16 << 10
	// MaxTerms counts comparisons.
	MaxTerms = 1000
	// MaxDepth counts parentheses inside each other.
	MaxDepth = 100
)

// operators, the longer ones first.
var operators = [...]string{":=", "!=", ">=", "<=", "=", ">", "<"}

type nodeKind uint8

const (
	nodeTerm nodeKind = iota
	nodeAnd
	nodeOr
	nodeNot
)

// node is one node of the syntax tree. And has at least two kids and none of
// them is an And itself; Or likewise; Not has one; a term has none.
type node struct {
	kind nodeKind
	kids []*node
	term term
}

// term is one comparison: key op value.
type term struct {
	tag      string    // the tag's key; "" if it is a property
	property *property // nil if it is a tag
	op       string
	text     string  // the value; a number as it was written
	quoted   bool    // the value was text, not a number
	number   float64 // the value as a number
	numeric  bool    // number is set: an unquoted value, or text that reads as one
}

// Parse reads an expression; a blank one matches every server. The error is
// always a *SyntaxError.
func Parse(input string) (*Expr, error) {
	if len(input) > MaxLength {
		return nil, &SyntaxError{Column: 1, Text: "Expression too long",
			Hint: "at most " + strconv.Itoa(MaxLength) + " bytes"}
	}
	if at := invalidUTF8(input); at >= 0 {
		l := lexer{input: input}
		return nil, l.fail(at, "", "Invalid UTF-8")
	}
	if strings.TrimSpace(input) == "" {
		return &Expr{}, nil
	}
	p := parser{lexer: lexer{input: input}}
	root, err := p.whole()
	if err != nil {
		return nil, err
	}
	return &Expr{root: root, required: required(root)}, nil
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
}

// parser is a recursive descent over the grammar, one token ahead.
type parser struct {
	lexer lexer
	token token
	terms int
	depth int
}

func (p *parser) advance() (err *SyntaxError) {
	p.token, err = p.lexer.next()
	return err
}

func (p *parser) whole() (*node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("")
	}
	return root, nil
}

// unexpected is the error for a token that cannot stand where it does.
func (p *parser) unexpected(hint string) *SyntaxError {
	switch p.token.kind {
	case tokenEnd:
		return p.lexer.fail(p.token.start, hint, "Unexpected end")
	case tokenWord:
		if strings.HasSuffix(p.lexer.input[:p.token.start], "'") {
			hint = "a quote inside a value is written twice: 'o''neil'"
		}
	case tokenTag, tokenServer, tokenString, tokenNumber:
		if hint == "" {
			hint = "terms are joined by and, or"
		}
	}
	text := p.lexer.input[p.token.start:p.lexer.at]
	return p.lexer.fail(p.token.start, hint, "Unexpected %s", strconv.Quote(echo(text)))
}

func (p *parser) or() (*node, *SyntaxError)  { return p.list(nodeOr, tokenOr, p.and) }
func (p *parser) and() (*node, *SyntaxError) { return p.list(nodeAnd, tokenAnd, p.unary) }

// list reads operands with the same operator between them into one flat node.
func (p *parser) list(kind nodeKind, between tokenKind, operand func() (*node, *SyntaxError)) (*node, *SyntaxError) {
	first, err := operand()
	if err != nil || p.token.kind != between {
		return first, err
	}
	n := &node{kind: kind}
	n.add(first)
	for p.token.kind == between {
		if err := p.advance(); err != nil {
			return nil, err
		}
		next, err := operand()
		if err != nil {
			return nil, err
		}
		n.add(next)
	}
	return n, nil
}

func (n *node) add(kid *node) {
	if kid.kind == n.kind { // (a and b) and c
		n.kids = append(n.kids, kid.kids...)
	} else {
		n.kids = append(n.kids, kid)
	}
}

func (p *parser) unary() (*node, *SyntaxError) {
	if p.token.kind != tokenNot {
		return p.operand()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenNot {
		return nil, p.unexpected("a second not needs parentheses: not (not ...)")
	}
	kid, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &node{kind: nodeNot, kids: []*node{kid}}, nil
}

func (p *parser) operand() (*node, *SyntaxError) {
	if p.token.kind != tokenOpen {
		return p.comparison()
	}
	if p.depth++; p.depth > MaxDepth {
		return nil, p.lexer.fail(p.token.start, "at most "+strconv.Itoa(MaxDepth)+" parentheses inside each other", "Expression too deep")
	}
	open := p.token.start
	if err := p.advance(); err != nil {
		return nil, err
	}
	inner, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenClose {
		return nil, p.unexpected("the parenthesis at column " + strconv.Itoa(p.lexer.column(open)) + " is still open")
	}
	p.depth--
	return inner, p.advance()
}

func (p *parser) comparison() (*node, *SyntaxError) {
	if p.terms++; p.terms > MaxTerms {
		return nil, p.lexer.fail(p.token.start, "at most "+strconv.Itoa(MaxTerms)+" comparisons", "Expression too long")
	}
	n := &node{kind: nodeTerm}
	if err := p.key(&n.term); err != nil {
		return nil, err
	}
	operator := p.token
	if operator.kind != tokenOperator {
		return nil, p.unexpected("an operator is one of = != := > >= < <=")
	}
	n.term.op = operator.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.value(&n.term); err != nil {
		return nil, err
	}
	if n.term.op == ":=" && !n.term.quoted {
		return nil, p.lexer.fail(operator.start, "only text can be contained: := '...'", textUnexpectedContain)
	}
	return n, p.advance()
}

// key reads the left side and stands on the operator after it.
func (p *parser) key(t *term) *SyntaxError {
	switch p.token.kind {
	case tokenTag:
		t.tag = p.token.text
	case tokenServer:
		if t.property = findProperty(p.token.text); t.property == nil {
			return p.lexer.fail(p.token.start, propertyHint(p.token.text), textPropertyNotFound, echo(p.token.text))
		}
	case tokenWord:
		return p.lexer.fail(p.token.start, wordHint(p.token.text), textKeyExpected)
	default:
		return p.lexer.fail(p.token.start, "a comparison starts with its key: tag:name = 'value'", textKeyExpected)
	}
	return p.advance()
}

func wordHint(word string) string {
	switch strings.ToLower(word) {
	case "tag", "server":
		return "keys start with tag: or server:, in lower case"
	}
	return "did you mean tag:" + echo(word) + "?"
}

// value reads the right side and stands on it still.
func (p *parser) value(t *term) *SyntaxError {
	t.text = p.token.text
	switch p.token.kind {
	case tokenString:
		t.quoted = true
		t.number, t.numeric = parseNumber(t.text)
		return nil
	case tokenNumber:
		if t.number, t.numeric = parseNumber(t.text); !t.numeric {
			return p.lexer.fail(p.token.start, "", "Number out of range")
		}
		return nil
	case tokenOperator:
		return p.unexpected("one operator is enough; equal is written =")
	}
	return p.unexpected("a value is a 'text' or a number")
}

// parseNumber reads what the grammar calls a number, and nothing else that
// strconv would take (hexadecimal, infinity).
func parseNumber(s string) (float64, bool) {
	if s == "" || numberAt(s) != len(s) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}
