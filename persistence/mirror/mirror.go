// Package mirror remembers the few records that a fleet cannot get back from anywhere
// else, keys and clients, and writes them back when somebody deleted the store's data.
//
// It notices that by one record that is never changed nor deleted while a fleet lives,
// the sentinel: when this is absent, or has another version than before, the records
// are not those that were there. Until what is remembered is written back, the absence
// of a record is no answer (persistence.ErrUnavailable): an agent that was told that
// nobody knows it would throw away its credentials.
//
// Every broker of a fleet does this, and creates only what is absent. What a broker
// wrote itself a short while ago it writes back at once, what it has only read, or wrote
// long ago, a moment later: another one may have changed that since. So the newest copy
// wins; the sentinel comes last and says that all else is there. What a broker deleted a
// short while ago it deletes again when another one, which had not heard of it, has
// written it back.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"opensessionmanager/persistence"
)

// ErrWiped: the store does not hold the records that it held before, and they are being
// written back. It comes with persistence.ErrUnavailable.
var ErrWiped = errors.New("mirror: the store's records were deleted and are being written back")

// Config says what is remembered. Times that are zero become their defaults.
type Config struct {
	// Kinds are those whose records are remembered: few and small ones.
	Kinds []string
	// Sentinel is of one of the Kinds.
	Sentinel persistence.Key
	// Wiped is called when the loss is noticed, Back when the store answers again after
	// it did not. Neither may block.
	Wiped, Back func()
	Logger      *slog.Logger
	Pulse       time.Duration // between looks at the sentinel; default 1 s
	Refresh     time.Duration // between walks over all that is remembered; default 1 min
	Glance      time.Duration // between looks for records that are new; default 2 s, more if there are thousands
	Settle      time.Duration // after which also what was only read is written back; default 2 s
}

// Store is a persistence.Store around the one that is watched.
type Store struct {
	inner persistence.Store
	cfg   Config
	kinds map[string]bool
	look  chan struct{} // holds one: the sentinel is not what it was

	mu       sync.Mutex
	copies   map[persistence.Key]remembered
	deleted  map[persistence.Key]mark
	sentinel int64 // version; 0: not seen yet
	wiped    bool
}

type remembered struct {
	data    []byte
	version int64     // 0: of a life of the store that is over
	wrote   time.Time // when this broker wrote it; zero: it was read
}

var (
	_ persistence.Store  = (*Store)(nil)
	_ persistence.Walker = (*Store)(nil)
)

// New wraps inner. Run does the watching. Closing the result closes inner.
func New(inner persistence.Store, cfg Config) *Store {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&cfg.Pulse, time.Second}, {&cfg.Refresh, time.Minute}, {&cfg.Glance, 2 * time.Second}, {&cfg.Settle, 2 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	s := &Store{inner: inner, cfg: cfg, kinds: map[string]bool{}, copies: map[persistence.Key]remembered{},
		deleted: map[persistence.Key]mark{}, look: make(chan struct{}, 1)}
	for _, kind := range cfg.Kinds {
		s.kinds[kind] = true
	}
	return s
}

// Load implements persistence.Store.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	r, err := s.inner.Load(ctx, key)
	switch {
	case !s.kinds[key.Kind]:
	case err == nil:
		s.remember(r, false)
	case errors.Is(err, persistence.ErrNotFound):
		if gone := s.intact(ctx); gone != nil {
			return persistence.Record{}, gone
		}
		s.forget(key)
	}
	return r, err
}

// Scan implements persistence.Store.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	before := s.known(func(key persistence.Key, _ remembered) bool { return key.Kind == kind && key.ID > after })
	page, err := s.inner.Scan(ctx, kind, after, limit)
	if err != nil || !s.kinds[kind] {
		return page, err
	}
	s.rememberAll(page)
	if len(page) < limit { // what is missing may have been deleted with all the rest
		if err := s.intact(ctx); err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, r := range page {
			seen[r.Key.ID] = true
		}
		s.forgetUnseen(before, seen)
	}
	return page, err
}

// forgetUnseen forgets what others deleted: what was known before the store was read and
// has not been seen there, nor written since.
func (s *Store) forgetUnseen(before []persistence.Record, seen map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range before {
		if now, ok := s.copies[r.Key]; ok && !seen[r.Key.ID] && now.version == r.Version {
			delete(s.copies, r.Key)
		}
	}
}

// Walk implements persistence.Walker.
func (s *Store) Walk(ctx context.Context, kind string, want func(string) bool, each func([]persistence.Record) error) error {
	if !s.kinds[kind] {
		return persistence.Walk(ctx, s.inner, kind, want, each)
	}
	err := persistence.Walk(ctx, s.inner, kind, want, func(page []persistence.Record) error {
		s.rememberAll(page)
		return each(page)
	})
	if err != nil {
		return err
	}
	return s.intact(ctx)
}

// Save implements persistence.Store.
func (s *Store) Save(ctx context.Context, r persistence.Record) (int64, error) {
	version, err := s.inner.Save(ctx, r)
	s.wrote(persistence.Op{Record: r}, persistence.Result{Version: version, Err: err})
	return version, err
}

// Delete implements persistence.Store.
func (s *Store) Delete(ctx context.Context, key persistence.Key, version int64) error {
	err := s.inner.Delete(ctx, key, version)
	s.wrote(persistence.Op{Record: persistence.Record{Key: key}, Delete: true}, persistence.Result{Err: err})
	return err
}

// Apply implements persistence.Store.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := s.inner.Apply(ctx, ops)
	for i, op := range ops {
		s.wrote(op, results[i])
	}
	return results
}

// Close implements persistence.Store.
func (s *Store) Close() error { return s.inner.Close() }

func (s *Store) wrote(op persistence.Op, result persistence.Result) {
	switch {
	case result.Err != nil || !s.kinds[op.Record.Key.Kind]:
	case op.Delete:
		s.mark(op.Record.Key)
	default:
		op.Record.Version = result.Version
		s.remember(op.Record, true)
	}
}

func (s *Store) rememberAll(page []persistence.Record) {
	for _, r := range page {
		s.remember(r, false)
	}
}

func (s *Store) remember(r persistence.Record, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learn(r, own)
}

// learn is remember, under mu.
func (s *Store) learn(r persistence.Record, own bool) {
	if r.Key == s.cfg.Sentinel && s.sentinel == 0 {
		s.sentinel = r.Version
	}
	if own {
		delete(s.deleted, r.Key)
	}
	if s.isDeleted(r) {
		return
	}
	if known, ok := s.copies[r.Key]; !ok || r.Version > known.version {
		fresh := remembered{data: bytes.Clone(r.Data), version: r.Version}
		if own {
			fresh.wrote = time.Now()
		}
		s.copies[r.Key] = fresh
	}
}

// young is for how long after a change of one's own another broker may not have heard of
// it: until its next refresh, and as long again for a slow one. An older copy may have
// been changed by others without this broker's having heard of it.
func (s *Store) young() time.Duration { return 2 * s.cfg.Refresh }

func (s *Store) forget(key persistence.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.copies, key)
}

// intact is nil if the store's records are those that were there before.
func (s *Store) intact(ctx context.Context) error {
	r, err := s.inner.Load(ctx, s.cfg.Sentinel)
	if err != nil && !errors.Is(err, persistence.ErrNotFound) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.wiped:
	case err == nil && s.sentinel == 0:
		s.learn(r, false)
		return nil
	case r.Version == s.sentinel: // both are 0 before the first start of a fleet
		return nil
	default:
		s.wiped = true
		for key, known := range s.copies {
			known.version = 0
			s.copies[key] = known
		}
		s.loseMarks()
		select {
		case s.look <- struct{}{}:
		default:
		}
	}
	return fmt.Errorf("%w: %w", persistence.ErrUnavailable, ErrWiped)
}
