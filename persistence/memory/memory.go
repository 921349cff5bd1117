// Package memory keeps records in this process and forgets them with it: for
// tests, and for a broker that is told to need no disk.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"opensessionmanager/persistence"
)

// Store is a persistence.Store. Several brokers of one process may share it.
type Store struct {
	mu      sync.RWMutex
	records *btree.BTreeG[persistence.Record] // nil once closed
	// version is the last one given out. It is shared by all keys and never used
	// twice, so that who read a record before it was deleted and made again is
	// refused as well.
	version int64
}

var _ persistence.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{records: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

func less(a, b persistence.Record) bool {
	return cmp.Or(strings.Compare(a.Key.Kind, b.Key.Kind), strings.Compare(a.Key.ID, b.Key.ID)) < 0
}

// Load implements persistence.Store.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return persistence.Record{}, err
	}
	found, ok := s.records.Get(persistence.Record{Key: key})
	if !ok {
		return persistence.Record{}, persistence.ErrNotFound
	}
	found.Data = bytes.Clone(found.Data)
	return found, nil
}

// Save implements persistence.Store.
func (s *Store) Save(ctx context.Context, record persistence.Record) (int64, error) {
	result := s.Apply(ctx, []persistence.Op{{Record: record}})[0]
	return result.Version, result.Err
}

// Delete implements persistence.Store.
func (s *Store) Delete(ctx context.Context, key persistence.Key, version int64) error {
	return s.Apply(ctx, []persistence.Op{{Record: persistence.Record{Key: key, Version: version}, Delete: true}})[0].Err
}

// Scan implements persistence.Store.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	var page []persistence.Record
	from := persistence.Record{Key: persistence.Key{Kind: kind, ID: after}}
	s.records.Ascend(from, func(r persistence.Record) bool {
		if r.Key.Kind != kind || len(page) >= limit {
			return false
		}
		if r.Key.ID != after {
			r.Data = bytes.Clone(r.Data)
			page = append(page, r)
		}
		return true
	})
	return page, nil
}

// Apply implements persistence.Store.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := make([]persistence.Result, len(ops))
	s.mu.Lock()
	defer s.mu.Unlock()
	unusable := s.usable(ctx)
	for i, op := range ops {
		if unusable != nil {
			results[i].Err = unusable
			continue
		}
		results[i].Version, results[i].Err = s.apply(op)
	}
	return results
}

func (s *Store) apply(op persistence.Op) (int64, error) {
	if err := op.Check(); err != nil {
		return 0, err
	}
	found, exists := s.records.Get(op.Record)
	switch {
	case op.Delete && !exists:
		return 0, persistence.ErrNotFound
	case found.Version != op.Record.Version: // an absent record has version 0
		return 0, persistence.ErrConflict
	case op.Delete:
		s.records.Delete(op.Record)
		return 0, nil
	}
	s.version++
	s.records.Set(persistence.Record{Key: op.Record.Key, Version: s.version, Data: bytes.Clone(op.Record.Data)})
	return s.version, nil
}

// Close implements persistence.Store and frees all records.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = nil
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.records == nil {
		return fmt.Errorf("%w: closed", persistence.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return nil
}
