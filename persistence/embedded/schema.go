package embedded

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// schema says how records are kept in the file. Raise it, and convert in prepare,
// when that changes.
const schema = "1"

var (
	metaBucket    = []byte("meta")
	recordsBucket = []byte("records")
	schemaKey     = []byte("schema")
)

// prepare makes the buckets of a new file and refuses a file that is not ours.
func (s *Store) prepare() error {
	empty := false
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) (err error) {
			empty, err = inspect(tx)
			return err
		})
	})
	if errors.Is(err, errFault) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil || !empty {
		return err
	}
	err = guard(func() error { return s.db.Update(create) })
	if err != nil {
		return fmt.Errorf("embedded: write schema: %w", err)
	}
	return nil
}

func inspect(tx *bolt.Tx) (empty bool, err error) {
	info, err := os.Stat(tx.DB().Path())
	if err != nil {
		return false, fmt.Errorf("embedded: stat: %w", err)
	}
	if info.Size() < tx.Size() {
		return false, fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), tx.Size())
	}
	if first, _ := tx.Cursor().First(); first == nil {
		return true, nil
	}
	meta := tx.Bucket(metaBucket)
	if meta == nil || tx.Bucket(recordsBucket) == nil {
		return false, fmt.Errorf("%w: it is not a broker's", ErrDamaged)
	}
	if found := meta.Get(schemaKey); string(found) != schema {
		return false, fmt.Errorf("%w: %.20q, this program knows %q", ErrSchema, found, schema)
	}
	return false, nil
}

func create(tx *bolt.Tx) error {
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(recordsBucket); err != nil {
		return err
	}
	return meta.Put(schemaKey, []byte(schema))
}

// errFault: the file is not what bbolt believes it to be.
var errFault = errors.New("embedded: fault in the file")

// guard turns what a broken file does to bbolt into an error. bbolt reads the
// file through a memory map: a wrong page makes it panic, and a page that is cut
// off or that the disk cannot read makes the kernel signal a fault.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errFault, p)
		}
	}()
	return do()
}
