package roster

import (
	"slices"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// Builder makes the picture from views as they arrive. It is not safe for
// concurrent use: one actor owns it. The views it takes must not change any more.
type Builder struct {
	x     indexes
	taken *Snapshot // nil once something changed after it
}

// NewBuilder returns a Builder of an empty fleet.
func NewBuilder() *Builder { return &Builder{x: newIndexes()} }

// Snapshot returns the picture as it is now. Two calls without a change between
// them return the same one.
func (b *Builder) Snapshot() *Snapshot {
	if b.taken == nil {
		b.taken = &Snapshot{x: b.x.copy()}
	}
	return b.taken
}

// Session returns the picture of a session, nil if it is not known.
func (b *Builder) Session(id string) *messages.SessionView {
	if e, known := b.x.sessions.get(id); known {
		return e.View
	}
	return nil
}

// Server returns the picture of a server, nil if it is not known.
func (b *Builder) Server(id string) *messages.ServerView {
	if e, known := b.x.servers.get(id); known {
		return e.View
	}
	return nil
}

// PutSession takes a session's newer picture. It returns false, and changes
// nothing, if the version is not higher than the one known, or without an id.
func (b *Builder) PutSession(v *messages.SessionView) bool {
	if v.GetId() == "" {
		return false
	}
	old, known := b.x.sessions.get(v.Id)
	if known {
		if v.Version <= old.View.Version {
			return false
		}
		if moved(old.View, v) {
			b.unlist(old)
		}
	}
	b.taken = nil
	e := &Session{View: v}
	b.x.sessions.set(v.Id, e)
	b.x.byCreation.Set(e)
	b.x.byOwner.Set(e)
	if v.ServerId != "" {
		b.x.byServer.Set(e)
	}
	return true
}

// moved says whether a session changes its place in an index.
func moved(old, v *messages.SessionView) bool {
	return old.CreationUnixMs != v.CreationUnixMs || old.Owner != v.Owner || old.ServerId != v.ServerId
}

// RemoveSession forgets a session.
func (b *Builder) RemoveSession(id string) {
	if old, known := b.x.sessions.remove(id); known {
		b.taken = nil
		b.unlist(old)
	}
}

func (b *Builder) unlist(e *Session) {
	b.x.byCreation.Delete(e)
	b.x.byOwner.Delete(e)
	b.x.byServer.Delete(e)
}

// PutServer takes a server's newer picture, under the rules of PutSession.
func (b *Builder) PutServer(v *messages.ServerView) bool {
	if v.GetId() == "" {
		return false
	}
	var facts *messages.ServerFacts
	old, known := b.x.servers.get(v.Id)
	if known {
		if v.Version <= old.View.Version {
			return false
		}
		facts = old.View.Facts
		if facts.GetHostname() != v.GetFacts().GetHostname() {
			b.x.byHostname.Delete(old)
		}
		if old.View.MachineId != v.MachineId {
			b.x.byMachine.Delete(old)
		}
	}
	b.taken = nil
	e := &Server{View: v}
	b.x.servers.set(v.Id, e)
	b.x.byHostname.Set(e)
	b.x.byMachine.Set(e)
	b.retag(v.Id, facts, v.Facts)
	return true
}

// RemoveServer forgets a server. Its sessions stay until they are removed.
func (b *Builder) RemoveServer(id string) {
	if old, known := b.x.servers.remove(id); known {
		b.taken = nil
		b.x.byHostname.Delete(old)
		b.x.byMachine.Delete(old)
		b.retag(id, old.View.Facts, nil)
	}
}

// retag brings the tag index from a server's old facts to its new ones. Most
// pictures differ in load only and share their facts.
func (b *Builder) retag(serverID string, before, after *messages.ServerFacts) {
	if before == after {
		return
	}
	old, now := requirements.Tags(before), requirements.Tags(after)
	if slices.Equal(old, now) {
		return
	}
	for _, t := range old {
		b.x.byTag.Delete(tagged{t.Key, t.Value, serverID})
	}
	for _, t := range now {
		b.x.byTag.Set(tagged{t.Key, t.Value, serverID})
	}
}
