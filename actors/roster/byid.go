package roster

import (
	"hash/maphash"

	"github.com/tidwall/btree"
)

// byID finds entries by id. Its tree is in order of the ids' hashes: ids of one fleet
// begin alike and lie all over memory, so comparing them costs several times as much
// as comparing numbers that stand side by side in a node. The hash is this process's
// own, so nobody outside can choose ids that collide.
type byID[E identified] struct {
	hash  func(id string) uint64
	first *btree.Map[uint64, E] // by hash
	// others holds the ids whose hash another id had when they came: none, usually.
	others *btree.Map[string, E]
}

type identified interface{ id() string }

func (e *Session) id() string { return e.View.GetId() }

func (e *Server) id() string { return e.View.GetId() }

func newByID[E identified]() byID[E] {
	seed := maphash.MakeSeed()
	return byID[E]{
		hash:   func(id string) uint64 { return maphash.String(seed, id) },
		first:  btree.NewMap[uint64, E](0),
		others: btree.NewMap[string, E](0),
	}
}

func (x byID[E]) get(id string) (E, bool) {
	if found, ok := x.first.Get(x.hash(id)); ok && found.id() == id {
		return found, true
	}
	return x.others.Get(id)
}

func (x byID[E]) set(id string, entry E) {
	hash := x.hash(id)
	found, taken := x.first.Get(hash)
	_, other := x.others.Get(id)
	if other || taken && found.id() != id {
		x.others.Set(id, entry)
		return
	}
	x.first.Set(hash, entry)
}

func (x byID[E]) remove(id string) (E, bool) {
	hash := x.hash(id)
	if found, ok := x.first.Get(hash); ok && found.id() == id {
		return x.first.Delete(hash)
	}
	return x.others.Delete(id)
}

func (x byID[E]) len() int { return x.first.Len() + x.others.Len() }

// copy is O(1), as those of the trees.
func (x byID[E]) copy() byID[E] { return byID[E]{x.hash, x.first.Copy(), x.others.Copy()} }
