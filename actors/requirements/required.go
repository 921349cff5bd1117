package requirements

import (
	"maps"

	"opensessionmanager/messages"
)

// Equality is one comparison with = that can be looked up in an index. Key is
// as written: "tag:color", "server:Id".
type Equality struct {
	Key   string
	Value string
}

// identities are the properties worth an index: nearly every server has its own.
var identities = [...]string{"server:Id", "server:Hostname", "server:Host.Aws.Ec2InstanceId"}

// Required lists equalities that every matching server meets: the outermost
// terms, joined by and, that compare a tag, server:Id, server:Hostname or
// server:Host.Aws.Ec2InstanceId with a text. The list must not be changed.
func (e *Expr) Required() []Equality {
	if e == nil {
		return nil
	}
	return e.required
}

func required(root *node) (all []Equality) {
	conjuncts := []*node{root}
	if root.kind == nodeAnd {
		conjuncts = root.kids
	}
	for _, n := range conjuncts {
		if n.kind != nodeTerm || n.term.op != "=" || !n.term.quoted {
			continue
		}
		if n.term.property == nil {
			all = append(all, Equality{tagPrefix + n.term.tag, n.term.text})
			continue
		}
		for _, name := range identities {
			if n.term.property.name == name {
				all = append(all, Equality{name, n.term.text})
			}
		}
	}
	return all
}

// Equalities lists everything of the kind Required gives that a server meets, to
// fill an index with. If an expression matches the server, what it requires is
// among them.
func Equalities(v *messages.ServerView) []Equality {
	tags := Tags(v.GetFacts())
	all := make([]Equality, 0, len(tags)+len(identities))
	for _, t := range tags {
		all = append(all, Equality{tagPrefix + t.Key, t.Value})
	}
	for _, name := range identities {
		if value := findProperty(name).text(v); value != "" {
			all = append(all, Equality{name, value})
		}
	}
	return all
}

// Blank says that there is no requirement at all.
func (e *Expr) Blank() bool { return e == nil || e.root == nil }

// DependsOnLoad says whether the answer can change with a server's load alone.
func (e *Expr) DependsOnLoad() bool { return e != nil && e.root != nil && e.root.dependsOnLoad() }

func (n *node) dependsOnLoad() bool {
	for _, kid := range n.kids {
		if kid.dependsOnLoad() {
			return true
		}
	}
	return n.kind == nodeTerm && n.term.property != nil && n.term.property.load
}

// SameFacts says whether two pictures of one server look alike to every
// expression that does not depend on load. It does not allocate.
func SameFacts(a, b *messages.ServerView) bool {
	before, after := a.GetFacts(), b.GetFacts()
	if before == after {
		return true
	}
	if before == nil || after == nil ||
		before.MaxVirtualSessions != after.MaxVirtualSessions ||
		before.MaxConcurrentSessionsPerUser != after.MaxConcurrentSessionsPerUser ||
		!maps.Equal(before.Tags, after.Tags) {
		return false
	}
	for i := range properties {
		if p := &properties[i]; !p.load && !p.same(a, b) {
			return false
		}
	}
	return true
}

func (p *property) same(a, b *messages.ServerView) bool {
	if p.text != nil {
		return p.text(a) == p.text(b)
	}
	x, hasX := p.number(a)
	y, hasY := p.number(b)
	return x == y && hasX == hasY
}
