package placement

import (
	"slices"

	"github.com/tidwall/btree"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// Request is what a session needs.
type Request struct {
	Owner        string
	Type         messages.SessionType
	Requirements *requirements.Expr // nil or blank: any server
	// Avoid are servers on which a launch of this session already failed: they
	// are chosen only if no other one fits.
	Avoid []string
}

const (
	// scanLimit is up to how many servers are looked at one by one rather than in
	// order of rank.
	scanLimit = 256
	// walkLimit is how many servers outside of a class a choice for it may pass
	// before the class gets an order of its own.
	walkLimit = 512
)

// Pick chooses the best server that fits, or says why there is none. It changes
// nothing that can be seen: the same question gets the same answer until
// something is put, removed, reserved or settled.
func (ix *Index) Pick(req Request) (serverID string, refused *Refused) {
	k, ok := kindOf(req.Type)
	if !ok {
		return "", &Refused{counts: [criteria]int32{TypeNotOffered: int32(len(ix.slots))}}
	}
	s := search{ix: ix, req: req, kind: k}
	if req.Requirements.Blank() {
		return s.members(&ix.all)
	}
	if slots, pinned := ix.pinned(req.Requirements); pinned {
		return s.listed(slots)
	}
	c, known := ix.classes.of(req.Requirements)
	if known {
		ix.build(c)
		return s.members(c)
	}
	if s.firstSight() {
		return s.chosen(), nil
	}
	ix.build(c)
	return "", s.refused(c.counts[k])
}

// pinned lists the servers an expression can match at all, if they are few.
func (ix *Index) pinned(expr *requirements.Expr) (slots []uint32, pinned bool) {
	for _, pin := range expr.Required() {
		if at := ix.pins[pin]; !pinned && len(at) <= scanLimit || pinned && len(at) < len(slots) {
			slots, pinned = at, true
		}
	}
	return slots, pinned
}

// build finds the members of a class; from then on they are kept up to date.
func (ix *Index) build(c *class) {
	if c.built {
		return
	}
	c.built = true
	for slot, e := range ix.entries {
		if e != nil && c.expr.Matches(e.view) {
			c.join(uint32(slot), e)
		}
	}
}

// order gives a class an order of its own.
func (ix *Index) order(c *class) {
	c.order()
	for k := range kinds {
		for slot := range both(c.members, ix.open[k]) {
			c.ranked[k].Set(ix.entries[slot].rank)
		}
	}
}

// search is one Pick on its way.
type search struct {
	ix   *Index
	req  Request
	kind kind

	best   *entry // the first choice so far
	second *entry // likewise among the servers to avoid
}

// offer considers a server with room that meets the requirements.
func (s *search) offer(e *entry) {
	if s.best != nil && !before(e.rank, s.best.rank) || !e.admits(s.kind, s.req.Owner) {
		return
	}
	choice := &s.best
	if slices.Contains(s.req.Avoid, e.view.Id) {
		choice = &s.second
	}
	if *choice == nil || before(e.rank, (*choice).rank) {
		*choice = e
	}
}

func (s *search) chosen() string {
	if s.best == nil {
		s.best = s.second
	}
	if s.best == nil {
		return ""
	}
	return s.best.view.Id
}

// inOrder offers servers with room that keep lets through, best first, until one
// is chosen.
func (s *search) inOrder(ranked *btree.BTreeG[rank], keep func(slot uint32, e *entry) bool) {
	ranked.Scan(func(r rank) bool {
		if e := s.ix.entries[r.slot]; keep(r.slot, e) {
			s.offer(e)
		}
		return s.best == nil
	})
}

func anyServer(uint32, *entry) bool { return true }

// firstSight looks for a server without building a class, which pays only for an
// expression that comes again. It costs little where many servers match.
func (s *search) firstSight() bool {
	s.inOrder(s.ix.all.ranked[s.kind], func(_ uint32, e *entry) bool {
		return s.req.Requirements.Matches(e.view)
	})
	return s.best != nil || s.second != nil
}

// members chooses from a class.
func (s *search) members(c *class) (string, *Refused) {
	switch open := c.counts[s.kind][Fits]; {
	case open == 0:
	case c.ranked[s.kind] != nil:
		s.inOrder(c.ranked[s.kind], anyServer)
		s.ix.used(c)
	case open <= scanLimit:
		for slot := range both(c.members, s.ix.open[s.kind]) {
			s.offer(s.ix.entries[slot])
		}
	case !s.nearTop(c):
		s.ix.order(c)
		s.inOrder(c.ranked[s.kind], anyServer)
		s.ix.used(c)
	}
	if id := s.chosen(); id != "" {
		return id, nil
	}
	return "", s.refused(c.counts[s.kind])
}

// nearTop looks for a member among the best servers of all. It gives up, and says
// so, once it has passed too many: a class much used fills up and sinks below
// servers that nobody asks for.
func (s *search) nearTop(c *class) bool {
	passed := 0
	s.ix.all.ranked[s.kind].Scan(func(r rank) bool {
		if c.members.has(r.slot) {
			s.offer(s.ix.entries[r.slot])
		}
		passed++
		return s.best == nil && passed < walkLimit
	})
	return s.best != nil
}

// used notes that the order of a class was needed.
func (ix *Index) used(c *class) {
	if c != &ix.all {
		ix.classes.keepOrder(c, len(ix.slots))
	}
}

// listed chooses from a few servers, among which are all that can match.
func (s *search) listed(slots []uint32) (string, *Refused) {
	var counts [criteria]int32
	for _, slot := range slots {
		e := s.ix.entries[slot]
		if !s.req.Requirements.Matches(e.view) {
			continue
		}
		counts[e.room[s.kind]]++
		if e.room[s.kind] == Fits {
			s.offer(e)
		}
	}
	if id := s.chosen(); id != "" {
		return id, nil
	}
	return "", s.refused(counts)
}

// refused makes reasons from the counts of the servers that meet the
// requirements: as none was chosen, those with room refuse the owner.
func (s *search) refused(counts [criteria]int32) *Refused {
	rest := int32(len(s.ix.slots))
	for _, n := range counts {
		rest -= n
	}
	counts[Requirements] = rest
	counts[OwnerLimit], counts[Fits] = counts[Fits], 0
	return &Refused{counts: counts}
}

// Verdict says of one server whether it fits, and if not, why (N1).
type Verdict struct {
	Criterion Criterion
	// Unmet is the first part of the requirements the server does not meet.
	Unmet string
}

// Judge gives the verdict on one server, and whether it is known.
func (ix *Index) Judge(serverID string, req Request) (Verdict, bool) {
	slot, known := ix.slots[serverID]
	if !known {
		return Verdict{}, false
	}
	e := ix.entries[slot]
	if unmet := req.Requirements.Explain(e.view); unmet != "" {
		return Verdict{Requirements, unmet}, true
	}
	k, ok := kindOf(req.Type)
	switch {
	case !ok:
		return Verdict{Criterion: TypeNotOffered}, true
	case e.room[k] == Fits && !e.admits(k, req.Owner):
		return Verdict{Criterion: OwnerLimit}, true
	}
	return Verdict{Criterion: e.room[k]}, true
}
