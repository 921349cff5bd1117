// Package embedded keeps records in one file of this machine, so that a broker
// with nothing configured survives a restart and its own kill -9. It is a thin
// layer over bbolt: a B+ tree with copy-on-write pages and two meta pages, where
// a write is durable when its transaction's fdatasync returned.
//
// That fdatasync is nearly all that a write costs, whether it carries one record
// or a thousand: use Apply (persistence.Committer does) rather than many Saves.
package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"opensessionmanager/persistence"
)

// FileName is the name of the file inside the folder given to Open.
const FileName = "broker.db"

// Errors of Open. None of them goes away by trying again.
var (
	// ErrInUse: another process, usually a second broker, has the file open.
	ErrInUse = errors.New("embedded: " + FileName + " is in use by another process")
	// ErrDamaged: the file is cut off, overwritten or not one of ours.
	ErrDamaged = errors.New("embedded: " + FileName + " is damaged")
	// ErrSchema: the file was written by a version of this program that keeps
	// records in another way. It was not changed.
	ErrSchema = errors.New("embedded: " + FileName + " has another schema")
)

// Store is a persistence.Store in one file.
type Store struct {
	db *bolt.DB

	writing sync.Mutex // around a write transaction and the judgement of its failure
	// doubtful is set when an fdatasync failed after the meta page was written.
	// The kernel may then have dropped the pages and call a later fdatasync a
	// success, so nothing more is written until the process starts anew.
	doubtful bool
}

var _ persistence.Store = (*Store)(nil)

// Open opens the store in folder, which it makes (mode 0700) if absent; the file
// has mode 0600, because records hold keys and secrets' hashes. It never waits for
// another process: ErrInUse tells the caller at once.
func Open(folder string) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("embedded: make folder: %w", err)
	}
	path := filepath.Join(folder, FileName)
	var db *bolt.DB
	err := guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Nanosecond, // one try: the default is to wait for ever
			// The map would be sorted at every commit, which costs more than the rest
			// of it once some thousand pages are free; the array is in order. Not to
			// keep the list at all would be cheaper still, but then opening a damaged
			// file can end the process.
			FreelistType: bolt.FreelistArrayType,
			NoStatistics: true,
		})
		return err
	})
	if err != nil {
		return nil, openError(err)
	}
	s := &Store{db: db}
	if err := errors.Join(s.prepare(), os.Chmod(path, 0o600), syncFolder(folder)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// openError tells a file that is wrong from a system that does not let us have it.
func openError(err error) error {
	var refused syscall.Errno
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrInUse
	case errors.As(err, &refused):
		return fmt.Errorf("embedded: open: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// syncFolder makes the file's name durable; without it a power failure soon
// after the first start may lose the whole file.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("embedded: open folder: %w", err)
	}
	defer f.Close()
	// Some file systems cannot sync a folder and say EINVAL; they need no help.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("embedded: sync folder: %w", err)
	}
	return nil
}

// Load implements persistence.Store.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	if key.Check() != nil {
		return persistence.Record{}, persistence.ErrNotFound
	}
	record := persistence.Record{Key: key}
	err := s.view(ctx, func(records *bolt.Bucket) (err error) {
		value := records.Get(encodeKey(key))
		if value == nil {
			return persistence.ErrNotFound
		}
		record.Version, record.Data, err = decodeValue(value)
		return err
	})
	if err != nil {
		return persistence.Record{}, err
	}
	return record, nil
}

// Scan implements persistence.Store. Pages freed while it runs cannot be used
// again before it ends, so keep limit in the thousands at most.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	var page []persistence.Record
	prefix := kind + kindEnd
	err := s.view(ctx, func(records *bolt.Bucket) error {
		cursor := records.Cursor()
		k, v := cursor.Seek([]byte(prefix + after))
		if string(k) == prefix+after {
			k, v = cursor.Next()
		}
		for ; len(page) < limit && strings.HasPrefix(string(k), prefix); k, v = cursor.Next() {
			version, data, err := decodeValue(v)
			if err != nil {
				return err
			}
			key := persistence.Key{Kind: kind, ID: string(k[len(prefix):])}
			page = append(page, persistence.Record{Key: key, Version: version, Data: data})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (s *Store) view(ctx context.Context, read func(records *bolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error { return read(tx.Bucket(recordsBucket)) })
	})
	if err != nil && !errors.Is(err, persistence.ErrNotFound) {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return err
}

// Close implements persistence.Store.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("embedded: close: %w", err)
	}
	return nil
}

// kindEnd separates kind and ID in a key. A kind cannot contain it, so that
// the order of keys is the order of IDs within a kind.
const kindEnd = "\x00"

func encodeKey(key persistence.Key) []byte {
	return []byte(key.Kind + kindEnd + key.ID)
}

const versionSize = 8

func encodeValue(version int64, data []byte) []byte {
	value := make([]byte, versionSize, versionSize+len(data))
	binary.BigEndian.PutUint64(value, uint64(version))
	return append(value, data...)
}

// decodeValue copies: value is a part of the mapped file and dies with the transaction.
func decodeValue(value []byte) (version int64, data []byte, err error) {
	if len(value) < versionSize {
		return 0, nil, ErrDamaged
	}
	return int64(binary.BigEndian.Uint64(value)), append([]byte(nil), value[versionSize:]...), nil
}
