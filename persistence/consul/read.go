package consul

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/persistence"
)

// readSize is the most records of one read: an operation each, and one for the generation.
const readSize = maxTxnOps - 1

// Load implements persistence.Store. It costs a round trip to Consul's leader and
// one from there to a quorum.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	if key.Check() != nil {
		return persistence.Record{}, persistence.ErrNotFound
	}
	if err := s.begin(ctx); err != nil {
		return persistence.Record{}, err
	}
	defer s.end()
	found, err := s.read(ctx, []persistence.Key{key})
	if err != nil {
		return persistence.Record{}, err
	}
	if len(found) == 0 {
		return persistence.Record{}, persistence.ErrNotFound
	}
	return found[0], nil
}

// Scan implements persistence.Store. Consul cannot list a part of the keys below a
// prefix, so each page begins with a list of all keys of the kind (some 100 bytes
// each, at most 64 MiB); only the records of the page are then read. Walk needs that
// list once only.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if limit < 1 || (persistence.Key{Kind: kind, ID: "x"}).Check() != nil {
		return nil, nil
	}
	keys, err := s.list(ctx, kind, after)
	if err != nil {
		return nil, err
	}
	var page []persistence.Record
	for len(keys) > 0 && len(page) < limit {
		n := min(readSize, limit-len(page), len(keys))
		found, err := s.read(ctx, keys[:n]) // fewer if some were deleted since
		if err != nil {
			return nil, err
		}
		page = append(page, found...)
		keys = keys[n:]
	}
	return page, nil
}

// Walk implements persistence.Walker: one list of all keys of the kind, and of the
// records only those that are wanted.
func (s *Store) Walk(ctx context.Context, kind string, want func(id string) bool, each func([]persistence.Record) error) error {
	keys, err := s.wanted(ctx, kind, want)
	for err == nil && len(keys) > 0 {
		var page []persistence.Record
		page, keys, err = s.page(ctx, keys)
		if err == nil && len(page) > 0 {
			err = each(page)
		}
	}
	return err
}

func (s *Store) wanted(ctx context.Context, kind string, want func(id string) bool) ([]persistence.Key, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if (persistence.Key{Kind: kind, ID: "x"}).Check() != nil {
		return nil, nil
	}
	keys, err := s.list(ctx, kind, "")
	if want != nil {
		keys = slices.DeleteFunc(keys, func(k persistence.Key) bool { return !want(k.ID) })
	}
	return keys, err
}

// page reads the first of some keys and returns the others.
func (s *Store) page(ctx context.Context, keys []persistence.Key) (page []persistence.Record, rest []persistence.Key, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	defer s.end()
	for len(keys) > 0 && len(page)+readSize <= persistence.WalkPage {
		n := min(readSize, len(keys))
		found, err := s.read(ctx, keys[:n])
		if err != nil {
			return nil, nil, err
		}
		page, keys = append(page, found...), keys[n:]
	}
	return page, keys, nil
}

// list returns the keys of a kind whose ID is greater than after, in order.
func (s *Store) list(ctx context.Context, kind, after string) ([]persistence.Key, error) {
	prefix := s.kindPrefix(kind)
	var names []string
	err := s.agents.read(ctx, func(client *api.Client, options *api.QueryOptions) error {
		found, meta, err := client.KV().Keys(prefix, "", options)
		if err == nil && meta.ResultsFilteredByACLs {
			err = errHidden
		}
		names = found
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		// Without a token Consul hides keys and does not say so: ask for one that
		// must be readable.
		_, err := s.look(ctx, nil)
		return nil, err
	}
	return decodeNames(kind, prefix, after, names), nil
}

func decodeNames(kind, prefix, after string, names []string) []persistence.Key {
	slices.Sort(names) // as they come; but nobody promises it
	last := prefix + escape(after)
	var keys []persistence.Key
	for _, name := range names {
		escaped, ok := strings.CutPrefix(name, prefix)
		if !ok || name <= last {
			continue
		}
		key := persistence.Key{Kind: kind}
		if key.ID, ok = unescape(escaped); ok && key.Check() == nil { // else somebody else's key
			keys = append(keys, key)
		}
	}
	return keys
}

// read returns those of up to readSize records that exist, in the order of keys, as
// of one moment.
func (s *Store) read(ctx context.Context, keys []persistence.Key) ([]persistence.Record, error) {
	for range maxTurns {
		seen, err := s.look(ctx, keys)
		if err != nil || len(seen.pairs) == 0 {
			return nil, err
		}
		if seen.generation != nil {
			return seen.records()
		}
		// The generation is lost or outdated, but there are records: begin a new one.
		if _, err := s.generation(ctx); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %q comes and goes", persistence.ErrUnavailable, s.generationKey())
}

// sight is what one consistent read saw: keys and pairs are those that exist.
type sight struct {
	generation *generation // nil if there is none to work with
	outdated   uint64      // index of the key of one that is older than known before
	keys       []persistence.Key
	pairs      []*api.KVPair
}

func (s *Store) look(ctx context.Context, keys []persistence.Key) (sight, error) {
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: s.generationKey()}}}
	for _, key := range keys {
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: s.keyOf(key)}})
	}
	var reply *api.TxnResponse
	err := s.agents.read(ctx, func(client *api.Client, options *api.QueryOptions) (err error) {
		_, reply, _, err = client.Txn().Txn(ops, options)
		return err
	})
	if err != nil {
		return sight{}, err
	}
	if err := complete(ops, reply); err != nil {
		return sight{}, err
	}
	var seen sight
	for i, result := range reply.Results {
		switch {
		case result.KV.ModifyIndex == 0: // absent
		case i == 0:
			if seen.generation, err = parseGeneration(result.KV); err != nil {
				return sight{}, err
			}
		default:
			seen.keys = append(seen.keys, keys[i-1])
			seen.pairs = append(seen.pairs, result.KV)
		}
	}
	if !s.learn(seen.generation) && seen.generation != nil {
		seen.outdated, seen.generation = seen.generation.index, nil
	}
	return seen, nil
}

// complete checks that each op has its result, which Consul leaves out if the token
// may not read the key.
func complete(ops api.TxnOps, reply *api.TxnResponse) error {
	for _, e := range reply.Errors {
		if e != nil {
			return fmt.Errorf("%w: consul refused a read: %.200s", persistence.ErrUnavailable, e.What)
		}
	}
	if len(reply.Results) != len(ops) {
		return aclError("Consul left out what the token may not read")
	}
	for i, result := range reply.Results {
		if result == nil || result.KV == nil || result.KV.Key != ops[i].KV.Key {
			return fmt.Errorf("%w: consul answered what was not asked", persistence.ErrUnavailable)
		}
	}
	return nil
}

func (s sight) records() ([]persistence.Record, error) {
	records := make([]persistence.Record, len(s.pairs))
	for i, pair := range s.pairs {
		version, err := s.generation.version(pair.ModifyIndex)
		if err != nil {
			return nil, err
		}
		data, err := decodeValue(pair.Key, pair.Value)
		if err != nil {
			return nil, err
		}
		records[i] = persistence.Record{Key: s.keys[i], Version: version, Data: data}
	}
	return records, nil
}
