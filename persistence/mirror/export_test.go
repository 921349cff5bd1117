package mirror

import "opensessionmanager/persistence"

// Remembers says whether the store would be given this record back.
func (s *Store) Remembers(key persistence.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.copies[key]
	return ok
}

// Marks says whether a deletion of this record is remembered.
func (s *Store) Marks(key persistence.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.deleted[key]
	return ok
}
