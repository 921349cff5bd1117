package placement

import (
	"iter"
	"math/bits"
)

// set is a set of server slots.
type set []uint64

func (s set) has(slot uint32) bool {
	word := int(slot / 64)
	return word < len(s) && s[word]&(1<<(slot%64)) != 0
}

func (s *set) add(slot uint32) {
	for int(slot/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[slot/64] |= 1 << (slot % 64)
}

func (s set) drop(slot uint32) {
	if word := int(slot / 64); word < len(s) {
		s[word] &^= 1 << (slot % 64)
	}
}

// both visits the slots that are in both sets.
func both(a, b set) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for word := range min(len(a), len(b)) {
			for rest := a[word] & b[word]; rest != 0; rest &= rest - 1 {
				if !yield(uint32(word*64 + bits.TrailingZeros64(rest))) {
					return
				}
			}
		}
	}
}
