package replicated

import "opensessionmanager/persistence"

// comparison is that of a part of the leader's copy with what a follower says it has.
type comparison struct {
	theirs  map[persistence.Key]change
	horizon int64
	found   response
	size    int
}

// compare says which entries behind a key differ from those of a follower.
func (s *Store) compare(from string, r request) response {
	if err := s.leads(r.Term, false); err != nil {
		return refusal(err)
	}
	c := comparison{theirs: make(map[persistence.Key]change, len(r.Changes)), horizon: s.horizon()}
	for _, entry := range r.Changes {
		c.theirs[entry.op().Record.Key] = entry
	}
	var end *persistence.Key
	if n := len(r.Changes); r.More && n > 0 {
		last := r.Changes[n-1].op().Record.Key
		end = &last
	}
	s.copy.walk(persistence.Key{Kind: r.After.Kind, ID: r.After.ID}, func(op persistence.Op) bool {
		if end != nil && compareKeys(op.Record.Key, *end) > 0 || c.full() {
			return false
		}
		c.both(op)
		return true
	})
	if !c.full() {
		c.found.Upto = nil
	}
	c.theirsOnly()
	return c.found
}

func (c *comparison) full() bool {
	return c.size > maxBatchBytes || len(c.found.Changes) >= maxBatch
}

// old: a mark of which nobody needs to hear who does not know the key. If it were passed
// on, none would ever be forgotten everywhere.
func (c *comparison) old(op persistence.Op) bool { return op.Delete && op.Record.Version < c.horizon }

// both looks at an entry that the leader has, and the follower perhaps.
func (c *comparison) both(op persistence.Op) {
	k := op.Record.Key
	entry, known := c.theirs[k]
	switch {
	case !known && c.old(op):
	case entry.Version < op.Record.Version:
		c.found.Changes = append(c.found.Changes, toWire(op))
		c.size += len(op.Record.Data) + 1
	case entry.Version > op.Record.Version:
		c.found.Want = append(c.found.Want, key{k.Kind, k.ID})
	}
	delete(c.theirs, k)
	c.found.Upto = &key{k.Kind, k.ID}
}

// theirsOnly asks for what is left: the leader does not have it.
func (c *comparison) theirsOnly() {
	for k, entry := range c.theirs {
		if upto := c.found.Upto; upto != nil && compareKeys(k, persistence.Key{Kind: upto.Kind, ID: upto.ID}) > 0 || c.old(entry.op()) {
			continue
		}
		c.found.Want = append(c.found.Want, key{k.Kind, k.ID})
	}
}
