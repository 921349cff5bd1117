package requirements

import "strings"

// String prints the expression in one canonical form: keywords in lower case,
// single spaces, no parentheses that change nothing. Parsing it gives the same
// expression again; the spaces are left out if it would be too long otherwise.
func (e *Expr) String() string {
	if e == nil || e.root == nil {
		return ""
	}
	return printed(e.root)
}

func printed(n *node) string {
	p := printer{space: " "}
	p.node(n)
	if p.Len() > MaxLength {
		p = printer{}
		p.node(n)
	}
	return p.String()
}

type printer struct {
	strings.Builder
	space string
}

func (p *printer) node(n *node) {
	switch n.kind {
	case nodeTerm:
		p.term(&n.term)
	case nodeNot:
		p.WriteString("not" + p.space)
		p.grouped(n.kids[0], n.kids[0].kind != nodeTerm)
	case nodeAnd:
		p.list(n.kids, "and")
	case nodeOr:
		p.list(n.kids, "or")
	}
}

func (p *printer) list(kids []*node, word string) {
	for i, kid := range kids {
		if i > 0 {
			p.WriteString(p.space + word + p.space)
		}
		p.grouped(kid, word == "and" && kid.kind == nodeOr)
	}
}

func (p *printer) grouped(n *node, parentheses bool) {
	if parentheses {
		p.WriteByte('(')
		defer p.WriteByte(')')
	}
	p.node(n)
}

func (p *printer) term(t *term) {
	if t.property != nil {
		p.WriteString(t.property.name)
	} else {
		p.WriteString(tagPrefix + t.tag)
	}
	p.WriteString(p.space + t.op + p.space)
	if t.quoted {
		p.WriteString("'" + strings.ReplaceAll(t.text, "'", "''") + "'")
	} else {
		p.WriteString(t.text)
	}
}
