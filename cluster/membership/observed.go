package membership

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// suspicion is how long a suspect stays one without an answer or a removal.
const suspicion = 10 * time.Second

// ghostly is how long the registry may list a broker that was removed.
const ghostly = time.Minute

// observed is what a Keeper saw of the fleet, guarded by its mutex.
type observed struct {
	asked     bool      // the registry has answered about the document
	version   uint64    // of the document
	stored    *document // in the registry; nil: none, or garbled
	garbled   bool      // what is there is not ours to replace
	held      *document // this broker acts by it
	missing   time.Time // since when there is no document
	left      map[string]bool
	healthy   map[string]Entry
	healthyAt time.Time // when the question was asked
	absent    map[string]time.Time
	suspects  map[string]time.Time
	probes    map[string]*probing
	removal   time.Time // the latest of a member that did not leave
	quiet     time.Time // no proposal before
	listing   bool      // announce runs
	documents outage
	listings  outage
	beats     outage
	writes    outage
	failing   outage // this broker, as the registry says
	unreached outage // of a member, by a broker that wants to join
	haunted   outage // by brokers that are gone
}

// probing is the state of asking one member.
type probing struct {
	probed
	running   bool
	next      time.Time // not before
	confirmed time.Time // when it was asked for its latest word for the current epoch
	// It says that the registry confirms the view there: since when, without a word to the
	// contrary, and when it said so last.
	servedSince, served time.Time
}

// hear takes what a probe said of the registry.
func (p *probing) hear(failure error, now time.Time, ttl time.Duration) {
	switch {
	case errors.Is(failure, ErrConfirmed):
		if now.Sub(p.served) > ttl {
			p.servedSince = now
		}
		p.served = now
	case alive(failure), errors.Is(failure, ErrGone):
		p.servedSince, p.served = time.Time{}, time.Time{}
	}
}

func newObserved() observed {
	return observed{absent: map[string]time.Time{}, suspects: map[string]time.Time{}, probes: map[string]*probing{},
		documents: registryOutage("reading the fleet's view"),
		listings:  registryOutage("listing the healthy brokers"),
		beats:     registryOutage("keeping this broker listed"),
		writes:    registryOutage("writing the fleet's view"),
		failing:   outage{begins: "the registry counts this broker as failing", ends: "the registry counts this broker as healthy"},
		haunted: outage{begins: "the registry lists brokers as healthy that are gone; can its agents take them away? (Consul: acl.tokens.agent)",
			ends: "the registry lists nobody any more who is gone"},
		unreached: outage{begins: "waits to join: a member of the fleet and this broker cannot reach each other", ends: "the members of the fleet can be reached"}}
}

func (o *observed) suspect(id string, now time.Time) {
	if o.held == nil || !o.held.has(id) {
		return
	}
	if _, already := o.suspects[id]; !already {
		o.suspects[id] = now
	}
}

// listed takes an answer of the registry about who is healthy.
func (o *observed) listed(entries []Entry, asked, now time.Time, ttl time.Duration) {
	if asked.Sub(o.healthyAt) > ttl {
		clear(o.absent) // nobody could be heard of meanwhile
	}
	o.healthy, o.healthyAt = make(map[string]Entry, len(entries)), asked
	for _, e := range entries { // one may be listed twice, when it changed from one agent of Consul to another
		if e.Failing == "" && len(o.healthy) < maxMembers && e.check() == nil {
			o.healthy[e.ID] = e
		}
	}
	o.missed(now)
	o.crowded(now)
}

// ghosts says that brokers are listed as healthy that were removed long ago: nothing is
// wrong as long as they are remembered, but that is bounded.
func (o *observed) ghosts(now time.Time) error {
	d := o.document()
	if d == nil {
		return nil
	}
	var listed []string
	for _, g := range d.Gone {
		if _, ok := o.healthy[g.ID]; ok && now.Sub(time.UnixMilli(g.UnixMS)) >= ghostly {
			listed = append(listed, g.ID)
		}
	}
	if len(listed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of them, the latest is %s", len(listed), listed[len(listed)-1])
}

// crowded suspects incarnations that share an address: all but one are no more. One that
// was removed is still listed for the time to live and says nothing about its successor.
func (o *observed) crowded(now time.Time) {
	d := o.document()
	if d == nil {
		return
	}
	at := make(map[string]int, len(o.healthy))
	for _, e := range o.healthy {
		if !d.removed(e.ID) {
			at[e.Address]++
		}
	}
	for _, m := range d.Members {
		_, healthy := o.healthy[m.ID]
		if others := at[m.Address]; others > 1 || others == 1 && !healthy {
			o.suspect(m.ID, now)
		}
	}
}

// missed notes since when the registry misses members.
func (o *observed) missed(now time.Time) {
	for _, m := range o.members() {
		if _, ok := o.healthy[m.ID]; ok {
			delete(o.absent, m.ID)
		} else if _, already := o.absent[m.ID]; !already {
			o.absent[m.ID] = now
		}
	}
}

// members are those of the held view, or, before this broker is a member, of the
// stored one.
func (o *observed) members() []Entry {
	if d := o.document(); d != nil {
		return d.Members
	}
	return nil
}

// document is the held one, or the stored one, or nil.
func (o *observed) document() *document {
	if o.held != nil {
		return o.held
	}
	return o.stored
}

// adopt makes d the document this broker acts by and forgets what no longer concerns.
func (o *observed) adopt(d *document, now time.Time) {
	o.removal = latestRemoval(o.held, d, o.removal, now)
	o.held = d
	strange := func(id string) bool { return !d.has(id) }
	maps.DeleteFunc(o.absent, func(id string, _ time.Time) bool { return strange(id) })
	maps.DeleteFunc(o.suspects, func(id string, _ time.Time) bool { return strange(id) })
	maps.DeleteFunc(o.probes, func(id string, _ *probing) bool { return strange(id) })
	for _, p := range o.probes {
		p.confirmed = time.Time{} // of another epoch
	}
}

// latestRemoval is when a member that did not leave was removed last. For views that
// this broker followed that is now, by its own clock; for the one it joined by the
// clock of the remover, which it trusts no further than to wait once.
func latestRemoval(held, next *document, latest, now time.Time) time.Time {
	if held == nil {
		for _, g := range next.Gone {
			if at := time.UnixMilli(g.UnixMS); !g.Left && at.After(latest) {
				latest = at
			}
		}
		if latest.After(now) {
			latest = now
		}
		return latest
	}
	for _, g := range next.Gone {
		if !g.Left && held.has(g.ID) {
			return now
		}
	}
	return latest
}

// alive says that what a probe returned is an answer of the member.
func alive(failure error) bool {
	return failure == nil || errors.Is(failure, ErrOtherEpoch) || errors.Is(failure, ErrConfirmed) || errors.Is(failure, ErrOutOfContact)
}

// agrees says that the answer confirms the view.
func agrees(failure error) bool {
	return alive(failure) && !errors.Is(failure, ErrOtherEpoch) && !errors.Is(failure, ErrConfirmed)
}

// settleProbe takes the outcome of a probe.
func (o *observed) settleProbe(id string, failure error, confirmed bool, sent, now time.Time, opt Options) {
	again, later := opt.ProbeTimeout, opt.Grace
	p := o.probes[id]
	if p == nil {
		return // no member any more
	}
	p.hear(failure, now, opt.TTL)
	p.running, p.before, p.at, p.asked = false, p.at, now, sent
	p.gone, p.lost = errors.Is(failure, ErrGone), errors.Is(failure, ErrOutOfContact)
	if confirmed {
		p.confirmed = sent
	}
	if !alive(failure) {
		p.failures++
		p.next = sent.Add(again)
		if p.gone {
			o.suspect(id, now) // it need not be missed by the registry first
		}
		return
	}
	p.failures = 0
	p.next = now.Add(later)
	if !confirmed { // it may in a moment, and much may depend on it
		p.next = sent.Add(again)
	}
	delete(o.suspects, id)
}

// expire forgets suspicions that came to nothing.
func (o *observed) expire(now time.Time) {
	maps.DeleteFunc(o.suspects, func(_ string, since time.Time) bool { return now.Sub(since) > suspicion })
}

func marks(left []string) map[string]bool {
	set := make(map[string]bool, len(left))
	for _, id := range left[:min(len(left), maxMembers)] {
		set[id] = true
	}
	return set
}

// readable copies the probes for decide.
func (o *observed) readable() map[string]probed {
	m := make(map[string]probed, len(o.probes))
	for id, p := range o.probes {
		m[id] = p.probed
	}
	return m
}

// last says that everybody in the view but self has left as well. Whoever the registry
// has missed for a time to live left before it moved here, or is dead: nobody of those
// takes note of anything.
func (o *observed) last(self string, now time.Time, ttl time.Duration) bool {
	return !slices.ContainsFunc(o.members(), func(m Entry) bool {
		since, absent := o.absent[m.ID]
		return m.ID != self && !o.left[m.ID] && !(absent && now.Sub(since) >= ttl)
	})
}
