package persistence

import (
	"fmt"
	"unicode/utf8"
)

// MaxKindSize bounds Kind alone in bytes.
const MaxKindSize = 32

// Check says whether a record of this key can exist: nil, ErrInvalidKey or
// ErrTooLarge. Every backend calls it, so that a key which one accepts is not a
// surprise in another. The error does not repeat the key, which may come from outside.
func (k Key) Check() error {
	if len(k.Kind)+len(k.ID) > MaxKeySize {
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooLarge, len(k.Kind)+len(k.ID), MaxKeySize)
	}
	if !validKind(k.Kind) {
		return fmt.Errorf("%w: kind is not a lower-case word of 1 to %d letters, digits and hyphens", ErrInvalidKey, MaxKindSize)
	}
	if k.ID == "" {
		return fmt.Errorf("%w: empty ID", ErrInvalidKey)
	}
	if !utf8.ValidString(k.ID) {
		return fmt.Errorf("%w: ID is not UTF-8", ErrInvalidKey)
	}
	return nil
}

// Check is Key.Check and the bound on Data.
func (r Record) Check() error {
	if err := r.Key.Check(); err != nil {
		return err
	}
	if len(r.Data) > MaxDataSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(r.Data), MaxDataSize)
	}
	return nil
}

// Check is Record.Check for a save and Key.Check for a delete, whose Data nobody
// looks at. Deleting what cannot exist is ErrNotFound.
func (o Op) Check() error {
	if !o.Delete {
		return o.Record.Check()
	}
	if o.Record.Key.Check() != nil {
		return ErrNotFound
	}
	return nil
}

func validKind(kind string) bool {
	if kind == "" || len(kind) > MaxKindSize {
		return false
	}
	for i, c := range []byte(kind) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}
