package consul

import (
	"context"
	"fmt"
	"slices"

	"opensessionmanager/persistence"
)

// Bounds of one transaction. Consul promises to take 64 operations and by default
// takes requests of 512 KiB (txn_max_req_len), which a record of MaxDataSize in
// base64 fits into.
const (
	maxTxnOps     = 64
	maxGroupBytes = 500 << 10
	minGroupBytes = 4 << 10
	opOverhead    = 200 // bytes of JSON around key and value, rounded up
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

// Apply implements persistence.Store. It writes in transactions of up to 63 saves or
// 31 deletes and 500 KiB, one after the other. When a transaction fails because
// Consul could not be asked or did not answer, the later ones are not tried.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	b := &batch{Store: s, ops: ops, results: make([]persistence.Result, len(ops))}
	if len(ops) == 0 {
		return b.results
	}
	all := make([]int, len(ops))
	for i := range all {
		all[i] = i
	}
	if err := s.begin(ctx); err != nil {
		b.fail(all, err)
		return b.results
	}
	defer s.end()
	b.run(ctx, slices.DeleteFunc(all, func(i int) bool {
		b.results[i].Err = ops[i].Check()
		return b.results[i].Err != nil
	}))
	return b.results
}

// batch is one Apply. Groups of it are lists of indexes into ops.
type batch struct {
	*Store
	ops     []persistence.Op
	results []persistence.Result
}

func (b *batch) run(ctx context.Context, todo []int) {
	for len(todo) > 0 {
		group := b.group(todo)
		todo = todo[len(group):]
		if err := b.commit(ctx, group); err != nil {
			b.skip(todo, err)
			return
		}
	}
}

// group is the longest beginning of todo that fits into one transaction and names no
// key twice: an op must see what the one before it on the same key did.
func (b *batch) group(todo []int) []int {
	keys := make(map[persistence.Key]struct{}, min(len(todo), maxTxnOps))
	count, room := 1, int(b.groupBytes.Load()) // one op checks the generation
	for n, i := range todo {
		key := b.ops[i].Record.Key
		_, again := keys[key]
		count += opsOf(b.ops[i])
		room -= b.bytesOf(b.ops[i])
		if n > 0 && (again || count > maxTxnOps || room < 0) {
			return todo[:n]
		}
		keys[key] = struct{}{}
	}
	return todo
}

// opsOf: a delete is two, because Consul calls the delete of an absent key a success.
func opsOf(op persistence.Op) int {
	if op.Delete {
		return 2
	}
	return 1
}

func (b *batch) bytesOf(op persistence.Op) int {
	key := len(b.prefix) + persistence.MaxKindSize + escapedSize*len(op.Record.Key.ID) + opOverhead
	if op.Delete {
		return 2 * key
	}
	return key + (len(op.Record.Data)+3)/3*4
}

// skip answers what is not tried. cause may be ErrUncertain, which these are not.
func (b *batch) skip(todo []int, cause error) {
	if len(todo) > 0 {
		b.fail(todo, fmt.Errorf("%w: not tried after a failure: %v", persistence.ErrUnavailable, cause))
	}
}

func (b *batch) fail(todo []int, err error) {
	for _, i := range todo {
		b.results[i] = persistence.Result{Err: err}
	}
}
