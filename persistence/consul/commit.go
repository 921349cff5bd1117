package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"opensessionmanager/persistence"
)

// This file takes one group of a batch through transactions, which are all or
// nothing, so that each op succeeds or fails by itself.

// errStale stands in the result of a delete until explain knows whether its record
// is another one or none.
var errStale = errors.New("consul: stale delete")

// commit gives each op of a group its result. The error says that Consul failed, so
// that there is no use in going on.
func (b *batch) commit(ctx context.Context, group []int) error {
	return b.explain(ctx, group, b.attempt(ctx, group))
}

// attempt tries a group until a transaction succeeds, each time without the ops that
// the last one named as refused. Nearly always the first one succeeds; the second
// one does, unless others keep changing the same records.
func (b *batch) attempt(ctx context.Context, group []int) error {
	for turns := 0; turns < maxTurns; {
		g, err := b.generation(ctx)
		if err != nil {
			b.fail(group, err)
			return err
		}
		txn := b.prepare(g, group)
		if group = txn.group; len(group) == 0 {
			return nil
		}
		reply, err := b.transact(ctx, txn.ops)
		switch {
		case tooLarge(err):
			return b.split(ctx, group)
		case err != nil:
			b.fail(group, err)
			return err
		case len(reply.Errors) == 0:
			b.settle(g, group, reply.Results)
			return nil
		}
		group = b.blame(txn, reply.Errors)
		if len(group) == len(txn.group) { // the generation is over
			b.forget(g)
			turns++
		}
	}
	err := fmt.Errorf("%w: consul refuses a transaction again and again", persistence.ErrUnavailable)
	b.fail(group, err)
	return err
}

// transaction is a group as Consul's operations; owner[i] is the op, as an index
// into the batch, that ops[i] belongs to.
type transaction struct {
	group []int
	ops   api.TxnOps
	owner []int
}

// ofGeneration owns the first operation.
const ofGeneration = -1

// prepare answers the ops whose version cannot be current, and turns the others into
// a transaction.
func (b *batch) prepare(g generation, group []int) transaction {
	var txn transaction
	txn.add(ofGeneration, &api.KVTxnOp{Verb: api.KVCheckIndex, Key: b.markKey(g.number), Index: g.index})
	for _, i := range group {
		op := b.ops[i]
		index, current := g.indexOf(op.Record.Version)
		create := !op.Delete && op.Record.Version == 0
		if !current && !create {
			b.refuse(i)
			continue
		}
		txn.group = append(txn.group, i)
		key := b.keyOf(op.Record.Key)
		if op.Delete {
			txn.add(i, &api.KVTxnOp{Verb: api.KVCheckIndex, Key: key, Index: index})
			txn.add(i, &api.KVTxnOp{Verb: api.KVDeleteCAS, Key: key, Index: index})
			continue
		}
		if create {
			index = 0 // to Consul: the key must not exist
		}
		// Consul does not count a write that changes nothing as one. With the replaced
		// index in the flags every write changes something, so versions always rise.
		txn.add(i, &api.KVTxnOp{Verb: api.KVCAS, Key: key, Index: index, Flags: index, Value: encodeValue(op.Record.Data)})
	}
	return txn
}

func (t *transaction) add(owner int, op *api.KVTxnOp) {
	t.ops = append(t.ops, &api.TxnOp{KV: op})
	t.owner = append(t.owner, owner)
}

func (b *batch) refuse(i int) {
	b.results[i].Err = persistence.ErrConflict
	if b.ops[i].Delete {
		b.results[i].Err = errStale
	}
}

// blame answers the ops that a rolled back transaction names, and returns the
// others; all of them if it names none but the generation.
func (b *batch) blame(txn transaction, refusals api.TxnErrors) (rest []int) {
	guilty := make(map[int]bool)
	for _, r := range refusals {
		if r.OpIndex < 0 || r.OpIndex >= len(txn.owner) {
			continue
		}
		i := txn.owner[r.OpIndex]
		switch {
		case i == ofGeneration && denied(r.What):
			b.fail(txn.group, aclError(r.What))
			return nil
		case i == ofGeneration:
			return txn.group // and judge the ops in the next one
		case denied(r.What):
			b.results[i].Err = aclError(r.What)
		case !guilty[i]:
			b.refuse(i)
		}
		guilty[i] = true
	}
	for _, i := range txn.group {
		if !guilty[i] {
			rest = append(rest, i)
		}
	}
	return rest
}

// settle answers the ops of a transaction that succeeded.
func (b *batch) settle(g generation, group []int, results api.TxnResults) {
	indexes := make(map[string]uint64, len(results))
	for _, r := range results {
		if r != nil && r.KV != nil {
			indexes[r.KV.Key] = r.KV.ModifyIndex
		}
	}
	for _, i := range group {
		if b.ops[i].Delete {
			b.results[i] = persistence.Result{}
			continue
		}
		version, err := g.version(indexes[b.keyOf(b.ops[i].Record.Key)])
		if err != nil { // written, but Consul does not say under which version
			err = fmt.Errorf("%w: %v; may the token read what it writes?", persistence.ErrUncertain, err)
		}
		b.results[i] = persistence.Result{Version: version, Err: err}
	}
}

// split commits a group that Consul is configured not to take as a whole, and makes
// all later groups smaller.
func (b *batch) split(ctx context.Context, group []int) error {
	if len(group) == 1 {
		b.fail(group, fmt.Errorf("%w: more than Consul is configured to take (kv_max_value_size, txn_max_req_len)",
			persistence.ErrTooLarge))
		return nil
	}
	size := 0
	for _, i := range group {
		size += b.bytesOf(b.ops[i])
	}
	b.groupBytes.Store(int64(max(size/2, minGroupBytes)))
	half := len(group) / 2
	if err := b.attempt(ctx, group[:half]); err != nil {
		b.skip(group[half:], err)
		return err
	}
	return b.attempt(ctx, group[half:])
}

// explain tells for each stale delete of a group whether its record is absent. If
// Consul failed before, it is not asked again.
func (b *batch) explain(ctx context.Context, group []int, failure error) error {
	var stale []int
	var keys []persistence.Key
	for _, i := range group {
		if b.results[i].Err == errStale {
			stale = append(stale, i)
			keys = append(keys, b.ops[i].Record.Key)
		}
	}
	if len(stale) == 0 {
		return failure
	}
	var found []persistence.Record
	if failure == nil {
		found, failure = b.read(ctx, keys)
	}
	if failure != nil {
		b.skip(stale, failure)
		return failure
	}
	b.fail(stale, persistence.ErrNotFound)
	for n, i := range stale { // found keeps the order of keys
		if len(found) > 0 && found[0].Key == keys[n] {
			b.results[i].Err = persistence.ErrConflict
			found = found[1:]
		}
	}
	return nil
}

// transact sends operations that write. A reply with errors was rolled back.
func (s *Store) transact(ctx context.Context, ops api.TxnOps) (reply *api.TxnResponse, err error) {
	err = s.agents.write(ctx, func(client *api.Client, options *api.QueryOptions) error {
		committed, answer, _, err := client.Txn().Txn(ops, options)
		if err != nil {
			return err
		}
		reply = answer
		reply.Errors = slices.DeleteFunc(reply.Errors, func(e *api.TxnError) bool { return e == nil || committed })
		if !committed && len(reply.Errors) == 0 {
			return &answerError{http.StatusConflict, "rolled back without a reason"}
		}
		return nil
	})
	return reply, err
}

// denied reports whether an operation was refused for want of permission; acl.IsErrPermissionDenied
// of Consul looks for the same text.
func denied(what string) bool { return strings.Contains(what, "Permission denied") }

// errHidden: Consul said that its list is not complete.
var errHidden = errors.New("the ACL token may not read all keys under the prefix")

func aclError(what string) error {
	return fmt.Errorf("%w: the ACL token may not read and write the keys under the prefix: %.200s", persistence.ErrUnavailable, what)
}
