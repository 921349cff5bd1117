package membership

import (
	"maps"
	"slices"
	"time"
)

// deadlyProbes is how many probes in a row must fail before a member counts as dead.
const deadlyProbes = 2

// rebuildStep is by how much a view that is written anew exceeds the one it is made
// from: by more than the views that somebody else may have seen meanwhile.
const rebuildStep = 100

// rules are the times by which decide goes.
type rules struct {
	grace     time.Duration // how long the registry must have missed a member
	stray     time.Duration // how long it must have missed one that says itself that it has no contact
	orphaned  time.Duration // how long it must have missed one that lives
	patience  time.Duration // how long a suspect must be silent that is not proven gone
	pace      time.Duration // before a member is removed that is silent, not proven gone
	settle    time.Duration // before the first view, if nobody else is there
	wait      time.Duration // before the first view, if others are there who should have one
	isolation time.Duration // how much longer a broker hesitates that reaches nobody
	freshness time.Duration // age at which a probe says nothing any more
}

// probed is what probing a member has shown.
type probed struct {
	failures int  // in a row
	gone     bool // the latest one proved that the process is no more
	lost     bool // the latest one was answered: it has no contact
	asked    time.Time
	at       time.Time // of the outcome
	before   time.Time // of the one before that
}

// situation is all that decide knows.
type situation struct {
	rules
	now  time.Time
	self Entry
	// stored is the document in the registry, nil if there is none, and held the one
	// this broker acts by, nil until it is a member.
	stored, held *document
	missing      time.Time // since when there is no document
	// healthy are the entries the registry lists; nil: it did not answer lately.
	healthy  map[string]Entry
	left     map[string]bool
	absent   map[string]time.Time // members not listed, since when by our own clock
	suspects map[string]time.Time // members whose connection the transport lost, and when
	probes   map[string]probed
	removal  time.Time // of the latest member that did not leave
	// confirmed: the registry confirmed the view here lately.
	confirmed bool
}

// proposal is a document that should follow the stored one.
type proposal struct {
	next    *document
	removed string   // the one member that next is without
	why     string   // it was removed
	clear   []string // marks of leavers that have served
}

// decide says how the fleet's document should change now, nil for not at all. All
// brokers decide by the same rules, and the first to check and set wins.
func decide(s *situation) *proposal {
	if s.healthy == nil {
		return nil // unknown is not absent
	}
	if s.stored == nil && s.held == nil {
		return first(s)
	}
	if _, ok := s.healthy[s.self.ID]; !ok {
		return nil // who is not well itself does not judge others
	}
	base, rebuilt := s.base()
	if base == nil || base.removed(s.self.ID) || s.left[s.self.ID] {
		return nil
	}
	p := &proposal{next: base}
	s.admit(p)
	if !rebuilt && base.has(s.self.ID) {
		s.expel(p)
	}
	if p.next == base && !rebuilt {
		return nil
	}
	next := *p.next
	next.Epoch++
	p.next = &next
	for id := range s.left {
		if !next.has(id) {
			p.clear = append(p.clear, id)
		}
	}
	slices.Sort(p.clear)
	return p
}

// first proposes the first view of a fleet. If others are listed they must have had a
// view: its loss is for them to mend, unless they do not within the wait.
func first(s *situation) *proposal {
	wait := s.settle
	for id := range s.healthy {
		if id != s.self.ID {
			wait = s.wait
		}
	}
	if s.now.Sub(s.missing) < wait {
		return nil
	}
	return &proposal{next: &document{Protocol: s.self.Oldest, Epoch: 1, Members: []Entry{s.self}}}
}

// base is what the next view is made from: the stored document, or, if that was lost,
// set back or written by somebody who did not know ours, the one we hold.
func (s *situation) base() (base *document, rebuilt bool) {
	if !lost(s.stored, s.held) {
		return s.stored, false
	}
	base = s.held
	above := base.Epoch
	if s.stored != nil {
		above = max(above, s.stored.Epoch)
	}
	d := *base
	d.Epoch = above + rebuildStep
	return &d, true
}

// lost says that what is stored cannot have come after what is held.
func lost(stored, held *document) bool {
	switch {
	case held == nil:
		return false
	case stored == nil || stored.Epoch < held.Epoch:
		return true
	}
	return stored.Epoch == held.Epoch && !slices.Equal(stored.Members, held.Members)
}

// admit adds whoever is healthy, at once.
func (s *situation) admit(p *proposal) {
	for _, id := range slices.Sorted(maps.Keys(s.healthy)) {
		e := s.healthy[id]
		switch {
		case p.next.has(id), p.next.removed(id), s.left[id]:
		case len(p.next.Members) >= maxMembers:
			return
		case s.misfit(p.next, e) == nil:
			p.next = p.next.with(e)
		}
	}
}

// misfit is a member of d that e shares no protocol with and that lives, for all that
// is known: that the registry misses it for a moment does not make it dead. One that is
// listed comes before others.
func (s *situation) misfit(d *document, e Entry) *Entry {
	var late *Entry
	for _, m := range d.Members {
		if s.left[m.ID] || m.ID == e.ID || compatible(m, e) {
			continue
		}
		if _, listed := s.healthy[m.ID]; listed {
			return &m
		}
		if !s.missedFor(m.ID, s.wait) {
			late = &m
		}
	}
	return late
}

func (s *situation) missedFor(id string, d time.Duration) bool {
	since, absent := s.absent[id]
	return absent && s.now.Sub(since) >= d
}

// expel removes at most one member: a leaver before all others.
func (s *situation) expel(p *proposal) {
	for _, m := range p.next.Members {
		if m.ID != s.self.ID && s.left[m.ID] {
			p.removed, p.why = m.ID, "it left"
			break
		}
	}
	if p.removed == "" {
		p.removed, p.why = s.dead(p.next)
	}
	if p.removed != "" {
		p.next = p.next.without(gone{ID: p.removed, UnixMS: s.now.UnixMilli(), Left: s.left[p.removed]}, s.healthy)
	}
}

// dead picks a member that may be removed now. The order makes brokers agree. While
// what the last one owned is settling only those are who are certainly no more: of a
// silent one it might be the network, and the time to find out is worth more.
func (s *situation) dead(d *document) (id, why string) {
	settling := !s.removal.IsZero() && s.now.Sub(s.removal) < s.pace
	var hesitate time.Duration
	if s.isolated(d) {
		hesitate = s.isolation
	}
	for _, m := range d.Members {
		if m.ID != s.self.ID && !settling && s.missedFor(m.ID, s.orphaned) {
			// Alive or not, it has no contact with the registry, nor with the store that is
			// there as a rule: what it owns nobody can change while it is a member.
			return m.ID, "the registry has missed it for long"
		}
		if m.ID != s.self.ID && !settling && s.strayed(m.ID) {
			return m.ID, "the registry misses it and it has no contact with the fleet"
		}
		if m.ID == s.self.ID || !s.silent(m.ID) || settling && !s.probes[m.ID].gone {
			continue
		}
		// What failed before the registry missed it says nothing about now: when the
		// registry comes back it misses everybody for a moment.
		if s.missedFor(m.ID, s.grace+hesitate) && !s.probes[m.ID].before.Before(s.absent[m.ID]) {
			return m.ID, "the registry misses it and it does not answer"
		}
		patience := hesitate
		if !s.probes[m.ID].gone { // it may only be slow, or its new connection is
			patience += s.patience
		}
		if since, ok := s.suspects[m.ID]; ok && s.now.Sub(since) >= patience {
			return m.ID, "its connection is lost and it does not answer"
		}
	}
	return "", ""
}

// silent says that the latest probes of a member failed, just now.
func (s *situation) silent(id string) bool {
	p := s.probes[id]
	return p.failures >= deadlyProbes && s.now.Sub(p.at) <= s.freshness
}

// strayed says that a member, which the registry serves no more, has said so itself since
// it is missed: it answers nothing, and what it owns waits for its removal. It must be
// certain that the registry serves this broker.
func (s *situation) strayed(id string) bool {
	p := s.probes[id]
	return s.confirmed && p.lost && s.now.Sub(p.at) <= s.freshness &&
		s.missedFor(id, s.stray) && !p.asked.Before(s.absent[id])
}

// isolated says that nobody answers this broker though there are several others: then
// it is likelier that it is this broker whom the others cannot reach, and they are to
// find out first.
func (s *situation) isolated(d *document) bool {
	others := 0
	for _, m := range d.Members {
		if m.ID == s.self.ID {
			continue
		}
		others++
		if p := s.probes[m.ID]; p.failures == 0 && s.now.Sub(p.at) <= s.freshness {
			return false
		}
	}
	return others > 1
}

// doubtful says that a member must be probed: a suspect, or one that the registry has
// missed for some of the grace, in which a leaver's mark arrives.
func doubtful(s *situation, id string) bool {
	since, absent := s.absent[id]
	_, suspect := s.suspects[id]
	return id != s.self.ID && !s.left[id] && (suspect || absent && s.now.Sub(since) >= s.grace/2)
}
