package embedded

import (
	"context"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"opensessionmanager/persistence"
)

// A broker of a fleet that shares its records by itself (package replicated) keeps its
// copy of them here. Their versions are the fleet's; deleted records leave a mark.

var marksBucket = []byte("deleted")

// Keep writes what others decided: a record as it is, version included, or for a delete
// the mark that it was deleted in that version. The caller sees to it that nothing newer
// is replaced. It is durable when Keep returns nil; else nobody knows.
func (s *Store) Keep(ctx context.Context, changes []persistence.Op) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return s.update(func(tx *bolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		marks, err := tx.CreateBucketIfNotExists(marksBucket)
		if err != nil {
			return err
		}
		last := records.Sequence()
		for _, c := range changes {
			key := encodeKey(c.Record.Key)
			put, drop, value := records, marks, encodeValue(c.Record.Version, c.Record.Data)
			if c.Delete {
				put, drop, value = marks, records, encodeValue(c.Record.Version, nil)
			}
			if err := drop.Delete(key); err != nil {
				return err
			}
			if err := put.Put(key, value); err != nil {
				return err
			}
			last = max(last, uint64(c.Record.Version))
		}
		return records.SetSequence(last) // a broker that is alone one day goes on from there
	})
}

// Kept calls each with every record and mark.
func (s *Store) Kept(ctx context.Context, each func(persistence.Op)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return guard(func() error { return s.db.View(func(tx *bolt.Tx) error { return visit(tx, each) }) })
}

func visit(tx *bolt.Tx, each func(persistence.Op)) error {
	for _, name := range [][]byte{recordsBucket, marksBucket} {
		bucket := tx.Bucket(name)
		if bucket == nil {
			continue
		}
		err := bucket.ForEach(func(k, v []byte) error {
			kind, id, found := strings.Cut(string(k), kindEnd)
			version, data, err := decodeValue(v)
			if !found || err != nil {
				return ErrDamaged
			}
			each(persistence.Op{Delete: string(name) == string(marksBucket),
				Record: persistence.Record{Key: persistence.Key{Kind: kind, ID: id}, Version: version, Data: data}})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Drop removes records and marks without leaving any.
func (s *Store) Drop(ctx context.Context, keys []persistence.Key) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return s.update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, marksBucket} {
			bucket := tx.Bucket(name)
			if bucket == nil {
				continue
			}
			for _, k := range keys {
				if err := bucket.Delete(encodeKey(k)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
