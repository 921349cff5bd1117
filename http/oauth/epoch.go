package oauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"opensessionmanager/persistence"
)

const (
	kindEpoch = "authorization"
	idEpoch   = "epoch"
)

// epoch counts administrators' changes. Brokers read it often, which costs one record,
// and everything else only when it has changed. It only rises: one that fell shows
// that the store was put back to an older state.
type epoch struct {
	shelf shelf[epochRecord]
	file  string // remembers the highest number outside of the store; "" for none
	fleet string // whose number that is
}

type epochRecord struct {
	Number int64 `json:"epoch"`
}

// read returns 0 if nothing was ever counted.
func (e epoch) read(ctx context.Context) (int64, error) {
	k, err := e.shelf.load(ctx, idEpoch)
	if errors.Is(err, persistence.ErrNotFound) {
		return 0, nil
	}
	return k.Value.Number, err
}

// raise counts a change that was made, so that all brokers look. It ends above least.
func (e epoch) raise(ctx context.Context, least int64) error {
	for {
		_, err := e.shelf.change(ctx, idEpoch, func(r *epochRecord) { r.Number = max(r.Number, least) + 1 })
		if !errors.Is(err, persistence.ErrNotFound) {
			return err
		}
		_, err = e.shelf.create(ctx, idEpoch, epochRecord{Number: least + 1})
		if !errors.Is(err, persistence.ErrConflict) {
			return err
		}
	}
}

// announce is raise for a change that is done: its failure means that other brokers
// see the change late, the latest the agents that they are connected to (changedEvery).
func (e epoch) announce(ctx context.Context) error {
	if err := e.raise(ctx, 0); err != nil {
		return fmt.Errorf("oauth: done, but the other brokers may take a minute to notice; repeat it: %w", err)
	}
	return nil
}

// fleetName tells fleets apart by their root key, of which it shows nothing.
func fleetName(k *Keys) string { return hex.EncodeToString(k.Secret("epoch file")[:8]) }

// remembered reads the file; 0 if there is none, or nonsense in it, or the number of
// another fleet: a broker that ran alone and joins one must not take that one's store
// for an old state of its own.
func (e epoch) remembered() int64 {
	if e.file == "" {
		return 0
	}
	data, err := os.ReadFile(e.file)
	if err != nil {
		return 0
	}
	count, fleet, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	number, err := strconv.ParseInt(count, 10, 64)
	if err != nil || fleet != e.fleet {
		return 0
	}
	return number
}

// remember writes the file, whole or not at all.
func (e epoch) remember(number int64) error {
	if e.file == "" {
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(e.file), ".epoch-*") // mode 0600
	if err != nil {
		return fmt.Errorf("oauth: remember epoch: %w", err)
	}
	_, err = fmt.Fprintln(file, number, e.fleet)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), e.file)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("oauth: remember epoch: %w", err)
	}
	return nil
}
