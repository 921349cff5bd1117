package consul

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/persistence"
)

// generation says which life of the KV store versions belong to; see the package
// comment. index is the ModifyIndex of its key, and of its mark, which every
// transaction checks.
type generation struct {
	number int64
	index  uint64
}

// A version holds 25 bits of generation, 63 years of minutes, above 38 bits of
// ModifyIndex, 1,000 entries of Consul's log a second for 8 years.
const (
	indexBits     = 38
	maxGeneration = 1<<25 - 1
)

// generationStart is minute 0.
var generationStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func (g generation) version(index uint64) (int64, error) {
	if index == 0 || index >= 1<<indexBits {
		return 0, fmt.Errorf("%w: no room for Consul's index %d in a version", persistence.ErrUnavailable, index)
	}
	return g.number<<indexBits | int64(index), nil
}

// indexOf is the ModifyIndex in a version, or false if the version cannot be a
// current one.
func (g generation) indexOf(version int64) (uint64, bool) {
	index := uint64(version) & (1<<indexBits - 1)
	return index, version > 0 && version>>indexBits == g.number && index != 0
}

// generationKey tells the number of the generation to whoever does not know it.
func (s *Store) generationKey() string { return s.prefix + "generation" }

// markKey is there as long as generation number lasts. The number is in its name, since
// a transaction can compare indexes only, and those come up again after a wipe.
func (s *Store) markKey(number int64) string { return s.marksPrefix() + strconv.FormatInt(number, 10) }

func (s *Store) marksPrefix() string { return s.generationKey() + "/" }

// generation returns the generation as last seen, asks for it, or begins one. As
// nothing of the caller's is written by that, all failures are ErrUnavailable.
func (s *Store) generation(ctx context.Context) (generation, error) {
	s.generations.Lock()
	known := s.current
	s.generations.Unlock()
	if known != nil {
		return *known, nil
	}
	for range maxTurns {
		seen, err := s.look(ctx, nil)
		if err != nil {
			return generation{}, err
		}
		if seen.generation != nil {
			return *seen.generation, nil
		}
		if err := s.beginGeneration(ctx, seen.outdated); err != nil {
			return generation{}, err
		}
	}
	return generation{}, fmt.Errorf("%w: %q comes and goes", persistence.ErrUnavailable, s.generationKey())
}

// maxTurns bounds how often one call starts over because others changed the store's
// generation under it, which takes an operator each time.
const maxTurns = 4

// beginGeneration writes the key, over one with the index replaced if that is not 0,
// and the mark instead of those before it, unless another broker is faster.
func (s *Store) beginGeneration(ctx context.Context, replaced uint64) error {
	s.generations.Lock()
	number := max(int64(time.Since(generationStart)/time.Minute), s.newest.number+1, 1)
	s.generations.Unlock()
	if number > maxGeneration {
		return fmt.Errorf("%w: no generation after %d", persistence.ErrUnavailable, number)
	}
	reply, err := s.transact(ctx, api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: s.generationKey(), Index: replaced, Value: strconv.AppendInt(nil, number, 10)}},
		{KV: &api.KVTxnOp{Verb: api.KVDeleteTree, Key: s.marksPrefix()}},
		{KV: &api.KVTxnOp{Verb: api.KVSet, Key: s.markKey(number)}},
	})
	if err != nil {
		return fmt.Errorf("%w: begin a generation: %v", persistence.ErrUnavailable, err)
	}
	for _, e := range reply.Errors {
		if denied(e.What) {
			return aclError(e.What)
		}
	}
	return nil
}

func parseGeneration(pair *api.KVPair) (*generation, error) {
	number, err := strconv.ParseInt(string(pair.Value), 10, 64)
	if err != nil || number < 1 || number > maxGeneration {
		return nil, fmt.Errorf("%w: the value of %q is not a number from 1 to %d", persistence.ErrUnavailable, pair.Key, maxGeneration)
	}
	return &generation{number: number, index: pair.ModifyIndex}, nil
}

// learn takes note of the generation that a read saw; nil: there is none. False if
// it is none to work with: absent, or older than one this store knew, as after the
// restore of a snapshot.
func (s *Store) learn(seen *generation) bool {
	s.generations.Lock()
	defer s.generations.Unlock()
	before := s.current
	s.current = nil
	if seen != nil && (seen.number > s.newest.number || *seen == s.newest) {
		s.current, s.newest = seen, *seen
	}
	if before != nil && (s.current == nil || *s.current != *before) {
		s.warn(*before)
	}
	return s.current != nil
}

// forget drops a generation that a transaction found to be over. It is not learned
// again: should its key still be there, only its mark was deleted.
func (s *Store) forget(over generation) {
	s.generations.Lock()
	defer s.generations.Unlock()
	if s.current != nil && *s.current == over {
		s.current = nil
		s.newest.index = 0 // that of no key
		s.warn(over)
	}
}

func (s *Store) warn(before generation) {
	s.log.Error("The records in Consul were deleted or replaced. Writes based on the old ones are refused.",
		slog.String("prefix", s.prefix), slog.Int64("generation", before.number))
}
