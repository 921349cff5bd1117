package membership

import "slices"

// Member is one broker of a view. ID changes with each start of the process, so that
// one that came back is not mistaken for the one that left.
type Member struct {
	ID      string
	Address string
}

// View is who is in the fleet. Every broker places grains by the view alone, so two
// with the same view agree on every owner. Epoch rises with each change.
type View struct {
	Epoch uint64
	// Protocol is the newest version that every member speaks. What a version brought
	// may be said to others only while this is not lower; it falls when a broker of the
	// version before comes back.
	Protocol int
	Members  []Member
}

// Owner is the member a grain belongs to: the highest rendezvous score. ok is false
// for an empty view.
func (v *View) Owner(kind, id string) (owner Member, ok bool) {
	var best uint64
	for _, m := range v.Members {
		if s := score(m.ID, kind, id); !ok || s > best || s == best && m.ID < owner.ID {
			owner, best, ok = m, s, true
		}
	}
	return owner, ok
}

// Has says whether a member of this incarnation is in the view.
func (v *View) Has(id string) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return m.ID == id })
}

// score mixes well also where the names differ only in their last byte, which the
// library's FNV does not (engine.md chapter 2).
func score(parts ...string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, part := range parts {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * prime
		}
		h = (h ^ 0xff) * prime // a separator no UTF-8 text contains
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Member returns the member of an incarnation.
func (v *View) Member(id string) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}
