package requirements

import "opensessionmanager/messages"

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
