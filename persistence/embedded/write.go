package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"opensessionmanager/persistence"
)

// Save implements persistence.Store.
func (s *Store) Save(ctx context.Context, record persistence.Record) (int64, error) {
	result := s.Apply(ctx, []persistence.Op{{Record: record}})[0]
	return result.Version, result.Err
}

// Delete implements persistence.Store.
func (s *Store) Delete(ctx context.Context, key persistence.Key, version int64) error {
	return s.Apply(ctx, []persistence.Op{{Record: persistence.Record{Key: key, Version: version}, Delete: true}})[0].Err
}

// Apply implements persistence.Store: one transaction and one fdatasync, whatever
// len(ops). The context is looked at once, before the transaction; a disk that is
// stuck in fdatasync cannot be hurried.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := make([]persistence.Result, len(ops))
	if len(ops) == 0 {
		return results
	}
	if err := s.write(ctx, ops, results); err != nil {
		for i := range results { // refusals too: they may follow from a write that is undone
			results[i] = persistence.Result{Err: err}
		}
	}
	return results
}

// errNothing rolls a transaction back that has nothing to write, which saves its fdatasync.
var errNothing = errors.New("embedded: nothing to write")

func (s *Store) write(ctx context.Context, ops []persistence.Op, results []persistence.Result) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return s.update(func(tx *bolt.Tx) error { return applyAll(tx.Bucket(recordsBucket), ops, results) })
}

// update is one write transaction.
func (s *Store) update(do func(*bolt.Tx) error) error {
	// judge must not see the work of another writer, which may have the same id.
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.doubtful {
		return fmt.Errorf("%w: the disk failed to sync, restart to write again", persistence.ErrUnavailable)
	}
	var id int
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			id = tx.ID()
			return do(tx)
		})
	})
	if err == nil || errors.Is(err, errNothing) {
		return nil
	}
	return s.judge(err, id)
}

// judge tells what a failed transaction means. A commit writes data pages, then
// one meta page that makes them current, then syncs. If the meta page cannot be
// seen in the map of the file it was never written, whatever failed: nothing
// happened. If it can, only the sync failed, and nobody knows what the disk has.
func (s *Store) judge(failure error, id int) error {
	var current int
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error { current = tx.ID(); return nil })
	})
	return s.verdict(failure, id != 0 && (err != nil || current >= id))
}

func (s *Store) verdict(failure error, written bool) error {
	if !written {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, failure)
	}
	s.doubtful = true
	return fmt.Errorf("%w: %w", persistence.ErrUncertain, failure)
}

func applyAll(records *bolt.Bucket, ops []persistence.Op, results []persistence.Result) error {
	// The sequence never goes back, so a version is never used twice: who read a
	// record that was deleted and made again is refused as well.
	last := records.Sequence()
	if err := records.SetSequence(last + uint64(len(ops))); err != nil {
		return err
	}
	changed := false
	for i, op := range ops {
		result, err := apply(records, op, int64(last)+int64(i)+1)
		if err != nil {
			return err
		}
		results[i] = result
		changed = changed || results[i].Err == nil
	}
	if !changed {
		return errNothing
	}
	return nil
}

// apply does one op. The error is a fault of the file and ends the transaction; a
// refusal is in the result.
func apply(records *bolt.Bucket, op persistence.Op, version int64) (persistence.Result, error) {
	if err := op.Check(); err != nil {
		return persistence.Result{Err: err}, nil
	}
	key := encodeKey(op.Record.Key)
	found := records.Get(key)
	var current int64
	if found != nil {
		if len(found) < versionSize {
			return persistence.Result{}, ErrDamaged
		}
		current = int64(binary.BigEndian.Uint64(found))
	}
	switch {
	case op.Delete && found == nil:
		return persistence.Result{Err: persistence.ErrNotFound}, nil
	case current != op.Record.Version:
		return persistence.Result{Err: persistence.ErrConflict}, nil
	case op.Delete:
		return persistence.Result{}, records.Delete(key)
	}
	return persistence.Result{Version: version}, records.Put(key, encodeValue(version, op.Record.Data))
}
