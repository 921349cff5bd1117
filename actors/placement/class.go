package placement

import (
	"container/list"
	"slices"

	"github.com/tidwall/btree"

	"opensessionmanager/actors/requirements"
)

// class is the set of servers that meet one expression.
type class struct {
	text    string
	expr    *requirements.Expr
	onLoad  bool // the expression depends on load
	built   bool // members and counts are kept; not so at first sight
	members set
	counts  [kinds][criteria]int32 // members by what they say to each type
	// ranked holds the members with room in order of rank, for the classes that
	// need an order of their own; nil for the others.
	ranked [kinds]*btree.BTreeG[rank]
}

func (c *class) order() {
	for k := range kinds {
		c.ranked[k] = btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})
	}
}

// join takes a server in.
func (c *class) join(slot uint32, e *entry) {
	c.members.add(slot)
	for k := range kinds {
		c.count(k, e.room[k], e.rank)
	}
}

// leave lets it go; the entry must be as it was at the last join or move.
func (c *class) leave(slot uint32, e *entry) {
	c.members.drop(slot)
	for k := range kinds {
		c.discount(k, e.room[k], e.rank)
	}
}

// move follows a member that has changed from what is given.
func (c *class) move(e *entry, room [kinds]Criterion, from rank) {
	for k := range kinds {
		if room[k] != e.room[k] || c.ranked[k] != nil && from != e.rank {
			c.discount(k, room[k], from)
			c.count(k, e.room[k], e.rank)
		}
	}
}

func (c *class) count(k kind, room Criterion, r rank) {
	c.counts[k][room]++
	if room == Fits && c.ranked[k] != nil {
		c.ranked[k].Set(r)
	}
}

func (c *class) discount(k kind, room Criterion, r rank) {
	c.counts[k][room]--
	if room == Fits && c.ranked[k] != nil {
		c.ranked[k].Delete(r)
	}
}

// check brings the membership of one server up to date.
func (c *class) check(slot uint32, e *entry) {
	switch was, is := c.members.has(slot), c.expr.Matches(e.view); {
	case is && !was:
		c.join(slot, e)
	case was && !is:
		c.leave(slot, e)
	}
}

// Bounds of what is kept.
const (
	// maxClasses is how many expressions are remembered.
	maxClasses = 512
	// maxClassText is the longest expression that is remembered, in bytes.
	maxClassText = 1 << 10
	// maxOrders bounds the classes with an order of their own: so many times the
	// fleet may their members be together. It bounds the work of one change.
	maxOrders = 16
)

// classes keeps those used last.
type classes struct {
	byText  map[string]*list.Element
	recent  *list.List // of *class, the last used in front
	ordered []*class   // those with an order of their own, the last used at the end
}

func newClasses() classes {
	return classes{byText: map[string]*list.Element{}, recent: list.New()}
}

// of finds the class of an expression and says whether it was known.
func (cs *classes) of(expr *requirements.Expr) (c *class, known bool) {
	text := expr.String()
	if at, ok := cs.byText[text]; ok {
		cs.recent.MoveToFront(at)
		return at.Value.(*class), true
	}
	c = &class{text: text, expr: expr, onLoad: expr.DependsOnLoad()}
	if len(text) > maxClassText {
		return c, false
	}
	if cs.recent.Len() >= maxClasses {
		oldest := cs.recent.Remove(cs.recent.Back()).(*class)
		delete(cs.byText, oldest.text)
		cs.disorder(oldest)
	}
	cs.byText[text] = cs.recent.PushFront(c)
	return c, false
}

// built calls each for the classes that must be kept up to date.
func (cs *classes) built(each func(*class)) {
	for at := cs.recent.Front(); at != nil; at = at.Next() {
		if c := at.Value.(*class); c.built {
			each(c)
		}
	}
}

// keepOrder notes that a class has an order of its own and was just used; those
// not used for longest lose theirs if there are too many in a fleet of a size.
func (cs *classes) keepOrder(c *class, fleet int) {
	if n := len(cs.ordered); n > 0 && cs.ordered[n-1] == c {
		return
	}
	if at := slices.Index(cs.ordered, c); at >= 0 {
		cs.ordered = slices.Delete(cs.ordered, at, at+1)
	}
	cs.ordered = append(cs.ordered, c)
	total := 0
	for _, o := range cs.ordered {
		total += o.size()
	}
	for total > maxOrders*fleet && len(cs.ordered) > 1 {
		total -= cs.ordered[0].size()
		cs.disorder(cs.ordered[0])
	}
}

func (cs *classes) disorder(c *class) {
	c.ranked = [kinds]*btree.BTreeG[rank]{}
	if at := slices.Index(cs.ordered, c); at >= 0 {
		cs.ordered = slices.Delete(cs.ordered, at, at+1)
	}
}

// size is the number of members.
func (c *class) size() (n int) {
	for _, members := range c.counts[virtual] {
		n += int(members)
	}
	return n
}
