package placement

import (
	"slices"

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

// scanLimit is up to how many servers are looked at one by one rather than in
// order of rank.
const scanLimit = 256

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
	if !known && s.firstSight() {
		return s.chosen(), nil
	}
	ix.build(c)
	return s.members(c)
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
	if !e.admits(s.kind, s.req.Owner) {
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

// inOrder offers the servers with room that keep lets through, best first, until
// one is chosen.
func (s *search) inOrder(keep func(slot uint32, e *entry) bool) {
	s.ix.ranked[s.kind].Scan(func(r rank) bool {
		if e := s.ix.entries[r.slot]; keep(r.slot, e) {
			s.offer(e)
		}
		return s.best == nil
	})
}

// firstSight looks for a server without building a class, which pays only for an
// expression that comes again. It costs little where many servers match.
func (s *search) firstSight() bool {
	s.inOrder(func(_ uint32, e *entry) bool { return s.req.Requirements.Matches(e.view) })
	return s.best != nil || s.second != nil
}

// members chooses from a class.
func (s *search) members(c *class) (string, *Refused) {
	switch open := c.counts[s.kind][Fits]; {
	case open == 0:
	case c == &s.ix.all:
		s.inOrder(func(uint32, *entry) bool { return true })
	case open <= scanLimit:
		for slot := range both(c.members, s.ix.open[s.kind]) {
			s.offer(s.ix.entries[slot])
		}
	default:
		s.inOrder(func(slot uint32, _ *entry) bool { return c.members.has(slot) })
	}
	if id := s.chosen(); id != "" {
		return id, nil
	}
	return "", s.refused(c.counts[s.kind])
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
