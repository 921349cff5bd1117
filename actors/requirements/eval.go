package requirements

import (
	"cmp"
	"strconv"
	"strings"

	"opensessionmanager/messages"
)

// Expr is a parsed expression. It never changes; nil and the zero value match
// every server.
type Expr struct {
	root     *node
	required []Equality
}

// Matches says whether a server meets the expression. A tag or property the
// server does not have makes its comparison false, != included. It does not
// allocate (but see TagValue).
func (e *Expr) Matches(v *messages.ServerView) bool {
	return e == nil || e.root == nil || e.root.matches(v)
}

// Explain gives the first part of the expression a server does not meet, as
// text: an operand of the outermost and, or the whole. It is empty if the server
// meets everything.
func (e *Expr) Explain(v *messages.ServerView) string {
	if e.Matches(v) {
		return ""
	}
	if e.root.kind == nodeAnd {
		for _, kid := range e.root.kids {
			if !kid.matches(v) {
				return printed(kid)
			}
		}
	}
	return e.String()
}

func (n *node) matches(v *messages.ServerView) bool {
	switch n.kind {
	case nodeAnd:
		for _, kid := range n.kids {
			if !kid.matches(v) {
				return false
			}
		}
		return true
	case nodeOr:
		for _, kid := range n.kids {
			if kid.matches(v) {
				return true
			}
		}
		return false
	case nodeNot:
		return !n.kids[0].matches(v)
	}
	return n.term.matches(v)
}

func (t *term) matches(v *messages.ServerView) bool {
	switch {
	case t.property == nil:
		value, ok := TagValue(v.GetFacts(), t.tag)
		return ok && t.compareText(value)
	case t.property.text != nil:
		value := t.property.text(v)
		return value != "" && t.compareText(value)
	}
	value, ok := t.property.number(v)
	return ok && t.compareNumber(value)
}

// compareText compares a text the server has. With an unquoted value it counts
// as a number, and nothing is true of one that is none. Two texts are ordered as
// numbers if both are, else by code points.
func (t *term) compareText(left string) bool {
	if !t.quoted {
		n, ok := parseNumber(left)
		return ok && ordered(cmp.Compare(n, t.number), t.op)
	}
	switch t.op {
	case "=":
		return left == t.text
	case "!=":
		return left != t.text
	case ":=":
		return strings.Contains(left, t.text)
	}
	if t.numeric {
		if n, ok := parseNumber(left); ok {
			return ordered(cmp.Compare(n, t.number), t.op)
		}
	}
	return ordered(strings.Compare(left, t.text), t.op)
}

// compareNumber compares a number the server has. Text that is no number equals
// none and is not unequal either; := looks into the decimal digits.
func (t *term) compareNumber(left float64) bool {
	if t.op == ":=" {
		return strings.Contains(strconv.FormatFloat(left, 'f', -1, t.property.bits()), t.text)
	}
	right := t.number
	if t.property.single {
		right = float64(float32(right))
	}
	return t.numeric && ordered(cmp.Compare(left, right), t.op)
}

func (p *property) bits() int {
	if p.single {
		return 32
	}
	return 64
}

// ordered says whether an operator holds for the outcome of a comparison.
func ordered(outcome int, op string) bool {
	switch op {
	case "=":
		return outcome == 0
	case "!=":
		return outcome != 0
	case ">":
		return outcome > 0
	case ">=":
		return outcome >= 0
	case "<":
		return outcome < 0
	case "<=":
		return outcome <= 0
	}
	return false
}
