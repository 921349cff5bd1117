package mirror

import (
	"bytes"
	"context"
	"errors"
	"time"

	"opensessionmanager/persistence"
)

// mark remembers a deletion by this broker until all others have heard of it. Who has
// not when the store's records are lost writes the record back.
type mark struct {
	data    []byte // of what was deleted
	version int64
	since   time.Time // the deletion, or its loss
	lost    bool      // the store's records were lost after it
}

// maxMarks bounds what is remembered of deletions: more within two minutes than an
// administrator makes.
const maxMarks = 1_000

// mark forgets a record that this broker deleted.
func (s *Store) mark(key persistence.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.copies[key]
	delete(s.copies, key)
	s.dropMarks()
	if ok && known.version != 0 && len(s.deleted) < maxMarks {
		s.deleted[key] = mark{data: known.data, version: known.version, since: time.Now()}
	}
}

// isDeleted says whether a record that was read is one that this broker deleted: it was
// read before that, or written back by a broker that had not heard of it. A newer one
// ends the mark. mu is held.
func (s *Store) isDeleted(r persistence.Record) bool {
	m, ok := s.deleted[r.Key]
	switch {
	case !ok:
		return false
	case m.lost && bytes.Equal(r.Data, m.data), !m.lost && r.Version <= m.version:
		return true
	}
	delete(s.deleted, r.Key)
	return false
}

// loseMarks notes that what was deleted may come back from now on. mu is held.
func (s *Store) loseMarks() {
	s.dropMarks()
	for key, m := range s.deleted {
		m.since, m.lost = time.Now(), true
		s.deleted[key] = m
	}
}

// dropMarks drops those of which everybody has heard, and those of lost records when the
// others have written back what they know: whoever makes the same record anew after
// that means it. mu is held.
func (s *Store) dropMarks() {
	for key, m := range s.deleted {
		if !m.lost && time.Since(m.since) > s.young() || m.lost && !s.wiped && time.Since(m.since) > 5*s.cfg.Settle {
			delete(s.deleted, key)
		}
	}
}

// deleteAgain deletes what others wrote back that this broker had deleted before. What
// fails is done at the next glance.
func (s *Store) deleteAgain(ctx context.Context) {
	s.mu.Lock()
	s.dropMarks()
	lost := map[persistence.Key]mark{}
	for key, m := range s.deleted {
		if m.lost {
			lost[key] = m
		}
	}
	s.mu.Unlock()
	for key, m := range lost {
		there, err := s.inner.Load(ctx, key)
		if err != nil || !bytes.Equal(there.Data, m.data) {
			continue
		}
		if err := s.inner.Delete(ctx, key, there.Version); err == nil || errors.Is(err, persistence.ErrNotFound) {
			s.cfg.Logger.Warn("A record that was deleted shortly before the store lost its records had come back, and is deleted again.",
				"kind", key.Kind, "id", key.ID)
		}
	}
}
