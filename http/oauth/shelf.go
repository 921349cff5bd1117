package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"opensessionmanager/persistence"
)

// shelf keeps the records of one kind as JSON.
type shelf[T any] struct {
	store persistence.Store
	kind  string
}

// kept is a record and the version it was read with.
type kept[T any] struct {
	ID      string
	Version int64
	Value   T
	stored  []byte
}

func (s shelf[T]) load(ctx context.Context, id string) (kept[T], error) {
	record, err := s.store.Load(ctx, persistence.Key{Kind: s.kind, ID: id})
	if err != nil {
		return kept[T]{}, fmt.Errorf("oauth: load %s: %w", s.kind, err)
	}
	return s.decode(record)
}

// create saves a new record; persistence.ErrConflict if the id is taken.
func (s shelf[T]) create(ctx context.Context, id string, value T) (int64, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("oauth: encode %s: %w", s.kind, err)
	}
	key := persistence.Key{Kind: s.kind, ID: id}
	version, err := s.store.Save(ctx, persistence.Record{Key: key, Data: data})
	if errors.Is(err, persistence.ErrUncertain) { // ids are random: what is there now is ours or nobody's
		if record, loadErr := s.store.Load(ctx, key); loadErr == nil && bytes.Equal(record.Data, data) {
			return record.Version, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("oauth: create %s: %w", s.kind, err)
	}
	return version, nil
}

// change applies edit to the newest version, again if somebody else was faster.
func (s shelf[T]) change(ctx context.Context, id string, edit func(*T)) (kept[T], error) {
	for try := 0; ; try++ {
		k, err := s.load(ctx, id)
		if err != nil {
			return k, err
		}
		data, err := edited(&k, edit)
		if err != nil {
			return k, fmt.Errorf("oauth: encode %s: %w", s.kind, err)
		}
		key := persistence.Key{Kind: s.kind, ID: id}
		version, err := s.store.Save(ctx, persistence.Record{Key: key, Version: k.Version, Data: data})
		if err == nil {
			k.Version = version
			return k, nil
		}
		retry := errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrUncertain)
		if !retry || try == 4 {
			return k, fmt.Errorf("oauth: change %s: %w", s.kind, err)
		}
	}
}

// edited encodes a record after an edit. What a later version of the broker wrote into it
// and this one does not know stays: an upgrade that is half done, or taken back, loses
// nothing (F47).
func edited[T any](k *kept[T], edit func(*T)) ([]byte, error) {
	var stored, known, next map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(k.stored, &stored), refit(k.Value, &known)); err != nil {
		return nil, errors.New("not an object") // the decoder's text may show a secret
	}
	edit(&k.Value)
	if err := refit(k.Value, &next); err != nil {
		return nil, err
	}
	for name, value := range stored {
		if _, ours := known[name]; ours {
			continue
		}
		if _, set := next[name]; !set {
			next[name] = value
		}
	}
	return json.Marshal(next)
}

// refit gives a value as an object of which the members are still encoded.
func refit(value any, into *map[string]json.RawMessage) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// remove deletes a record, whatever its version; persistence.ErrNotFound if there is none.
func (s shelf[T]) remove(ctx context.Context, id string) error {
	key := persistence.Key{Kind: s.kind, ID: id}
	for try := 0; ; try++ {
		record, err := s.store.Load(ctx, key)
		if err == nil {
			err = s.store.Delete(ctx, key, record.Version)
		}
		if err == nil || errors.Is(err, persistence.ErrNotFound) && try > 0 { // gone, by us or by somebody else
			return nil
		}
		retry := errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrUncertain)
		if !retry || try == 4 {
			return fmt.Errorf("oauth: remove %s: %w", s.kind, err)
		}
	}
}

// all returns every record in ascending order of id.
func (s shelf[T]) all(ctx context.Context) (found []kept[T], err error) {
	err = s.walk(ctx, nil, func(k kept[T]) { found = append(found, k) })
	return found, err
}

// walk hands each record that is wanted, nil for all, to each in ascending order of id.
func (s shelf[T]) walk(ctx context.Context, want func(id string) bool, each func(kept[T])) error {
	err := persistence.Walk(ctx, s.store, s.kind, want, func(page []persistence.Record) error {
		for _, record := range page {
			k, err := s.decode(record)
			if err != nil {
				return err
			}
			each(k)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("oauth: list %s: %w", s.kind, err)
	}
	return nil
}

func (s shelf[T]) decode(record persistence.Record) (kept[T], error) {
	k := kept[T]{ID: record.Key.ID, Version: record.Version, stored: record.Data}
	if err := json.Unmarshal(record.Data, &k.Value); err != nil {
		// Neither the data nor the decoder's text: both may show a secret.
		return k, fmt.Errorf("oauth: %s record cannot be read", s.kind)
	}
	return k, nil
}
