package placement

import (
	"slices"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// Index is every server, ordered for choosing. Not safe for concurrent use.
type Index struct {
	slots   map[string]uint32 // by server id
	entries []*entry          // by slot; nil where a slot is free
	free    []uint32

	open [kinds]set // servers with room
	pins map[requirements.Equality][]uint32

	all     class // every server
	classes classes
}

// NewIndex returns an Index without servers.
func NewIndex() *Index {
	ix := &Index{
		slots:   map[string]uint32{},
		pins:    map[requirements.Equality][]uint32{},
		all:     class{built: true},
		classes: newClasses(),
	}
	ix.all.order()
	return ix
}

// Len is the number of servers.
func (ix *Index) Len() int { return len(ix.slots) }

// Put takes a server's newer picture, which must not change any more. It returns
// false, and changes nothing, if the version is not higher than the one known.
func (ix *Index) Put(v *messages.ServerView) bool {
	if v.GetId() == "" {
		return false
	}
	slot, known := ix.slots[v.Id]
	if !known {
		ix.add(v)
		return true
	}
	return ix.adopt(slot, v)
}

func (ix *Index) add(v *messages.ServerView) {
	slot := uint32(len(ix.entries))
	if n := len(ix.free); n > 0 {
		slot, ix.free = ix.free[n-1], ix.free[:n-1]
	} else {
		ix.entries = append(ix.entries, nil)
	}
	e := &entry{rank: rank{id: v.Id, slot: slot}}
	ix.slots[v.Id], ix.entries[slot] = slot, e
	e.see(v)
	e.judge()
	ix.mark(e)
	for _, pin := range requirements.Equalities(v) {
		ix.pins[pin] = append(ix.pins[pin], slot)
	}
	ix.all.join(slot, e)
	ix.classes.built(func(c *class) { c.check(slot, e) })
}

// adopt replaces the picture of a known server if it is newer.
func (ix *Index) adopt(slot uint32, v *messages.ServerView) bool {
	e := ix.entries[slot]
	old := e.view
	if v.Version <= old.Version {
		return false
	}
	e.see(v)
	ix.refresh(slot)
	same := requirements.SameFacts(old, v)
	if !same {
		ix.repin(slot, old, v)
	}
	if !same || old.Load != v.Load {
		ix.classes.built(func(c *class) {
			if !same || c.onLoad {
				c.check(slot, e)
			}
		})
	}
	return true
}

// Remove forgets a server and what was pending there.
func (ix *Index) Remove(id string) {
	slot, known := ix.slots[id]
	if !known {
		return
	}
	e := ix.entries[slot]
	ix.classes.built(func(c *class) {
		if c.members.has(slot) {
			c.leave(slot, e)
		}
	})
	ix.all.leave(slot, e)
	for _, pin := range requirements.Equalities(e.view) {
		ix.unpin(pin, slot)
	}
	for k := range kinds {
		ix.open[k].drop(slot)
	}
	delete(ix.slots, id)
	ix.entries[slot] = nil
	ix.free = append(ix.free, slot)
}

// Reserve counts a session as placed there at once, before the server's own
// picture shows it. Each Reserve must be followed by one Settle.
func (ix *Index) Reserve(serverID, owner string, t messages.SessionType) {
	slot, known := ix.slots[serverID]
	k, ok := kindOf(t)
	if !known || !ok {
		return
	}
	ix.entries[slot].reserve(k, owner)
	ix.refresh(slot)
}

// Settle ends what Reserve began. The view, if there is one, is the server's
// newer picture that counts the session itself; nil means it was refused.
// Settling what is not pending (any more) does nothing else.
func (ix *Index) Settle(serverID, owner string, t messages.SessionType, view *messages.ServerView) {
	slot, known := ix.slots[serverID]
	if !known {
		return
	}
	if k, ok := kindOf(t); ok {
		ix.entries[slot].settle(k, owner)
	}
	if view.GetId() != serverID || !ix.adopt(slot, view) {
		ix.refresh(slot)
	}
}

// refresh judges a server anew and moves it where it belongs.
func (ix *Index) refresh(slot uint32) {
	e := ix.entries[slot]
	room, rank := e.room, e.rank
	e.judge()
	if room == e.room && rank == e.rank {
		return
	}
	ix.all.move(e, room, rank)
	if room == e.room { // only an order can be concerned
		for _, c := range ix.classes.ordered {
			if c.members.has(slot) {
				c.move(e, room, rank)
			}
		}
		return
	}
	ix.mark(e)
	ix.classes.built(func(c *class) {
		if c.members.has(slot) {
			c.move(e, room, rank)
		}
	})
}

// mark notes whether a server has room.
func (ix *Index) mark(e *entry) {
	for k := range kinds {
		if e.room[k] == Fits {
			ix.open[k].add(e.rank.slot)
		} else {
			ix.open[k].drop(e.rank.slot)
		}
	}
}

// repin brings the index of tags and identities from one picture to the next.
func (ix *Index) repin(slot uint32, old, v *messages.ServerView) {
	before, now := requirements.Equalities(old), requirements.Equalities(v)
	for _, pin := range before {
		if !slices.Contains(now, pin) {
			ix.unpin(pin, slot)
		}
	}
	for _, pin := range now {
		if !slices.Contains(before, pin) {
			ix.pins[pin] = append(ix.pins[pin], slot)
		}
	}
}

func (ix *Index) unpin(pin requirements.Equality, slot uint32) {
	slots := ix.pins[pin]
	at := slices.Index(slots, slot)
	if at < 0 {
		return
	}
	last := len(slots) - 1
	slots[at] = slots[last]
	if last == 0 {
		delete(ix.pins, pin)
		return
	}
	ix.pins[pin] = slots[:last]
}
