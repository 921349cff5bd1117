package mirror

import "opensessionmanager/persistence"

// Remembers says whether the store would be given this record back.
func (s *Store) Remembers(key persistence.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.copies[key]
	return ok
}
