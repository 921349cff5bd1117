package roster

import (
	"cmp"
	"math"

	"github.com/tidwall/btree"

	"opensessionmanager/messages"
)

// indexes are all trees of one picture. The entries are pointers: a node copied
// on write is then small, and four indexes cost little memory.
type indexes struct {
	sessions   byID[*Session]
	byCreation *btree.BTreeG[*Session] // creation, id
	byOwner    *btree.BTreeG[*Session] // owner, creation, id
	byServer   *btree.BTreeG[*Session] // server, creation, id; placed sessions only

	servers    byID[*Server]
	byHostname *btree.BTreeG[*Server] // hostname, id
	byMachine  *btree.BTreeG[*Server] // machine, id
	byTag      *btree.BTreeG[tagged]
}

// tagged says that a server has a tag with a value.
type tagged struct {
	key, value, serverID string
}

func newIndexes() indexes {
	return indexes{
		sessions:   newByID[*Session](),
		byCreation: newTree(creationOrder),
		byOwner:    newTree(ownerOrder),
		byServer:   newTree(serverOrder),
		servers:    newByID[*Server](),
		byHostname: newTree(hostnameOrder),
		byMachine:  newTree(machineOrder),
		byTag:      newTree(tagOrder),
	}
}

// newTree has no lock: only the Builder changes it, and copies share only nodes
// that nobody changes any more.
func newTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// copy is O(1): both sides share every node until they change it.
func (x indexes) copy() indexes {
	return indexes{
		sessions:   x.sessions.copy(),
		byCreation: x.byCreation.Copy(),
		byOwner:    x.byOwner.Copy(),
		byServer:   x.byServer.Copy(),
		servers:    x.servers.copy(),
		byHostname: x.byHostname.Copy(),
		byMachine:  x.byMachine.Copy(),
		byTag:      x.byTag.Copy(),
	}
}

func creationOrder(a, b *Session) bool { return compareCreation(a.View, b.View) < 0 }

func ownerOrder(a, b *Session) bool {
	if a.View.Owner != b.View.Owner {
		return a.View.Owner < b.View.Owner
	}
	return compareCreation(a.View, b.View) < 0
}

func serverOrder(a, b *Session) bool {
	if a.View.ServerId != b.View.ServerId {
		return a.View.ServerId < b.View.ServerId
	}
	return compareCreation(a.View, b.View) < 0
}

func compareCreation(a, b *messages.SessionView) int {
	if c := cmp.Compare(a.CreationUnixMs, b.CreationUnixMs); c != 0 {
		return c
	}
	return cmp.Compare(a.Id, b.Id)
}

func hostnameOrder(a, b *Server) bool {
	x, y := a.View.GetFacts().GetHostname(), b.View.GetFacts().GetHostname()
	if x != y {
		return x < y
	}
	return a.View.Id < b.View.Id
}

func machineOrder(a, b *Server) bool {
	if a.View.MachineId != b.View.MachineId {
		return a.View.MachineId < b.View.MachineId
	}
	return a.View.Id < b.View.Id
}

func tagOrder(a, b tagged) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	if a.value != b.value {
		return a.value < b.value
	}
	return a.serverID < b.serverID
}

// stream is a run of neighbouring sessions in one index, in order of creation
// and id, that starts after a place.
type stream struct {
	tree  *btree.BTreeG[*Session]
	after *Session            // the place; need not exist
	in    func(*Session) bool // nil: the run ends with the tree
}

func (x indexes) everything(after SessionCursor) stream {
	return stream{tree: x.byCreation, after: place(after, "", "")}
}

func (x indexes) ofOwner(owner string, after SessionCursor) stream {
	return stream{
		tree: x.byOwner, after: place(after, owner, ""),
		in: func(e *Session) bool { return e.View.Owner == owner },
	}
}

func (x indexes) onServer(serverID string, after SessionCursor) stream {
	return stream{
		tree: x.byServer, after: place(after, "", serverID),
		in: func(e *Session) bool { return e.View.ServerId == serverID },
	}
}

// place makes a key to search with.
func place(after SessionCursor, owner, serverID string) *Session {
	created := after.CreationUnixMs
	if after == (SessionCursor{}) {
		created = math.MinInt64 // from the start, whatever a host's clock said
	}
	return &Session{View: &messages.SessionView{
		Id: after.ID, CreationUnixMs: created, Owner: owner, ServerId: serverID,
	}}
}

// scan visits the run until visit returns false.
func (s stream) scan(visit func(*Session) bool) {
	s.tree.Ascend(s.after, func(e *Session) bool {
		if s.in != nil && !s.in(e) {
			return false
		}
		if compareCreation(e.View, s.after.View) == 0 {
			return true // the place itself, which the page before ended with
		}
		return visit(e)
	})
}
