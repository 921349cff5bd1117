package placement

import (
	"container/list"

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
}

// join and leave keep the counts; the entry must stand as it did at the other one.
func (c *class) join(slot uint32, e *entry) {
	c.members.add(slot)
	for k := range kinds {
		c.counts[k][e.room[k]]++
	}
}

func (c *class) leave(slot uint32, e *entry) {
	c.members.drop(slot)
	for k := range kinds {
		c.counts[k][e.room[k]]--
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
)

// classes keeps those used last.
type classes struct {
	byText map[string]*list.Element
	recent *list.List // of *class, the last used in front
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
		oldest := cs.recent.Back()
		delete(cs.byText, cs.recent.Remove(oldest).(*class).text)
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
