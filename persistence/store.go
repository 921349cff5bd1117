// Package persistence says what a store is: a keeper of small versioned records.
// It imports nothing of this project; each backend is a package below it and
// passes the contract in persistencetest.
package persistence

import (
	"context"
	"errors"
	"fmt"
)

// Errors of every backend. Callers compare with errors.Is.
var (
	// ErrNotFound: no record has this key.
	ErrNotFound = errors.New("persistence: record not found")
	// ErrConflict: the record's version is not the one the caller read. Nothing was written.
	ErrConflict = errors.New("persistence: record was changed by somebody else")
	// ErrUncertain: the write may or may not have happened. The caller must
	// forget what it believes and load again.
	ErrUncertain = errors.New("persistence: outcome of the write is unknown")
	// ErrOvertaken is an ErrUncertain that reading decides: the store repeated the write
	// after it lost the answer, and the record had been changed by then, perhaps also by
	// this write. It is not under way any more.
	ErrOvertaken = fmt.Errorf("%w: it was sent twice, and the record was changed since", ErrUncertain)
	// ErrUnavailable: nothing was written or read; trying later may help.
	ErrUnavailable = errors.New("persistence: store unavailable")
	// ErrTooLarge: Data is larger than MaxDataSize or the key larger than
	// MaxKeySize. Nothing was written.
	ErrTooLarge = errors.New("persistence: record too large")
	// ErrInvalidKey: the kind is not a short lower-case word, or the ID is empty
	// or not UTF-8. Nothing was written.
	ErrInvalidKey = errors.New("persistence: invalid key")
)

// Bounds that every backend keeps.
const (
	// MaxDataSize is the largest Data of one record in bytes (Consul KV takes 512 KiB).
	MaxDataSize = 256 << 10
	// MaxKeySize bounds Kind and ID together in bytes.
	MaxKeySize = 400
)

// Key names a record. Kind is a short lower-case word; ID is any UTF-8 text but
// the empty one: slashes, NUL and characters of four bytes are all allowed, and
// two IDs are the same only if their bytes are.
type Key struct {
	Kind string
	ID   string
}

// Record is one versioned value. Version is as read; 0 means "must not exist yet".
// Versions are positive and those of one key rise strictly while it exists, not
// necessarily by one; after a delete they may start anew. Data may be empty.
type Record struct {
	Key     Key
	Version int64
	Data    []byte
}

// Op is one write of a batch: a save, or a delete if Delete is set (then Data is ignored).
type Op struct {
	Record Record
	Delete bool
}

// Result answers one Op: the new version of a save, or why it was not done.
type Result struct {
	Version int64
	Err     error
}

// Store keeps records. All methods may be called concurrently. The store neither
// keeps nor changes a caller's Data after the call; what it returns is the caller's.
// A write whose context is over before it began is ErrUnavailable, one that was
// under way may be ErrUncertain. What was answered without error is seen by every
// later call, and survives the end of the process in every backend but memory.
type Store interface {
	// Load returns the record or ErrNotFound.
	Load(ctx context.Context, key Key) (Record, error)
	// Save writes Data if Version is still current and returns the new version;
	// ErrConflict if not, also if the record is gone. That is what fences a stale
	// writer.
	Save(ctx context.Context, record Record) (version int64, err error)
	// Delete removes the record if version is still current. Deleting what is
	// absent is ErrNotFound, and version 0 is never current.
	Delete(ctx context.Context, key Key, version int64) error
	// Scan returns up to limit records of a kind in ascending byte order of ID,
	// beginning after the given ID ("" = from the start), which need not exist.
	// Fewer than limit means that there are no more; a limit below 1 returns none.
	// A page is not a snapshot, but what exists throughout a walk is never skipped.
	Scan(ctx context.Context, kind, after string, limit int) ([]Record, error)
	// Apply does many writes at once. Each succeeds or fails by itself, in order,
	// with the same rules as Save and Delete; results are index-aligned. There is no
	// bound on len(ops): a backend with smaller transactions splits them. Several
	// ops on one key take effect in their order; they are not a transaction.
	Apply(ctx context.Context, ops []Op) []Result
	// Close waits for running calls; later calls return ErrUnavailable. Closing
	// again does nothing.
	Close() error
}
