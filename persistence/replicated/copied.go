package replicated

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"opensessionmanager/persistence"
)

// copied is this broker's copy of all records and marks. A mark is an Op with Delete.
type copied struct {
	disk     Disk
	now      func() time.Time
	patience time.Duration // how long the disk may take for a change

	keeping chan struct{} // full around comparing, the disk and the memory; before mu

	mu      sync.RWMutex
	entries *btree.BTreeG[persistence.Op]
	last    int64     // highest version seen or given out
	newest  int64     // highest version in it
	trouble error     // why the disk did not keep the latest changes
	busy    time.Time // since when it keeps; zero: it does not
}

func newCopied(cfg Config) *copied {
	return &copied{disk: cfg.Disk, now: cfg.Now, patience: 2 * cfg.Lease, keeping: make(chan struct{}, 1),
		entries: btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})}
}

func before(a, b persistence.Op) bool { return compareKeys(a.Record.Key, b.Record.Key) < 0 }

func compareKeys(a, b persistence.Key) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID))
}

func at(key persistence.Key) persistence.Op {
	return persistence.Op{Record: persistence.Record{Key: key}}
}

func clone(r persistence.Record) persistence.Record {
	r.Data = bytes.Clone(r.Data)
	return r
}

// load reads the disk and forgets marks that are older than the horizon.
func (c *copied) load(ctx context.Context, horizon int64) error {
	if c.disk == nil {
		return nil
	}
	if err := c.disk.Kept(ctx, func(op persistence.Op) { c.put([]persistence.Op{op}) }); err != nil {
		return fmt.Errorf("replicated: read the copy: %w", err)
	}
	return c.prune(ctx, horizon)
}

// lock waits until nothing is being kept, unless ctx ends first.
func (c *copied) lock(ctx context.Context) error {
	select {
	case c.keeping <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("replicated: wait for the disk: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		c.unlock()
		return fmt.Errorf("replicated: wait for the disk: %w", err)
	}
	return nil
}

func (c *copied) unlock() { <-c.keeping }

// quiet waits until what was begun before is in the copy, or failed.
func (c *copied) quiet(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	c.unlock()
	return nil
}

// prune forgets marks that are older than the horizon.
func (c *copied) prune(ctx context.Context, horizon int64) error {
	return c.drop(ctx, func(op persistence.Op) bool { return op.Delete && op.Record.Version < horizon })
}

// drop forgets entries, those that are in it while nothing is being kept.
func (c *copied) drop(ctx context.Context, which func(persistence.Op) bool) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	var keys []persistence.Key
	c.walk(persistence.Key{}, func(op persistence.Op) bool {
		if which(op) {
			keys = append(keys, op.Record.Key)
		}
		return true
	})
	if len(keys) == 0 {
		return nil
	}
	if c.disk != nil {
		if err := c.disk.Drop(ctx, keys); err != nil {
			return fmt.Errorf("replicated: forget: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		c.entries.Delete(at(k))
	}
	return nil
}

// clear forgets everything.
func (c *copied) clear(ctx context.Context) error {
	err := c.drop(ctx, func(persistence.Op) bool { return true })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = 0
	return err
}

func (c *copied) get(key persistence.Key) (persistence.Op, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries.Get(at(key))
}

// walk visits entries behind a key, in order, until each says false. What it is given
// must not be changed.
func (c *copied) walk(after persistence.Key, each func(persistence.Op) bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.entries.Ascend(at(after), func(op persistence.Op) bool {
		if compareKeys(op.Record.Key, after) == 0 {
			return true
		}
		return each(op)
	})
}

// take joins changes: of each key the higher version stays. What was newer is on the disk
// and in memory when it returns nil. Nothing happens unless allowed is nil or says nil. If
// ctx ends first, what the disk has begun goes on, and who calls quiet waits for it.
func (c *copied) take(ctx context.Context, allowed func() error, changes []persistence.Op) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	if allowed != nil {
		if err := allowed(); err != nil {
			c.unlock()
			return err
		}
	}
	fresh := c.fresh(changes)
	done := make(chan error, 1)
	go func() {
		defer c.unlock()
		err := c.toDisk(fresh)
		if err == nil {
			c.put(fresh)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("replicated: wait for the disk: %w", ctx.Err())
	}
}

// toDisk has the disk keep changes; the caller holds the lock.
func (c *copied) toDisk(changes []persistence.Op) error {
	if c.disk == nil || len(changes) == 0 {
		return nil
	}
	c.mu.Lock()
	c.busy = c.now()
	c.mu.Unlock()
	err := c.disk.Keep(context.Background(), changes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.trouble = time.Time{}, err
	return err
}

// health is nil, or why the disk keeps nothing: the latest changes failed, or it hangs.
func (c *copied) health() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if long := age(c.now(), c.busy); c.trouble == nil && !c.busy.IsZero() && long > c.patience {
		return fmt.Errorf("replicated: the disk has not answered for %v", long.Round(time.Millisecond))
	}
	return c.trouble
}

// fresh are those changes that are newer than the copy, the newest of each key.
func (c *copied) fresh(changes []persistence.Op) []persistence.Op {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var fresh []persistence.Op
	places := map[persistence.Key]int{}
	for _, op := range changes {
		if found, ok := c.entries.Get(op); ok && found.Record.Version >= op.Record.Version {
			continue
		}
		switch i, twice := places[op.Record.Key]; {
		case !twice:
			places[op.Record.Key] = len(fresh)
			fresh = append(fresh, op)
		case fresh[i].Record.Version < op.Record.Version:
			fresh[i] = op
		}
	}
	return fresh
}

func (c *copied) put(changes []persistence.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, op := range changes {
		if found, ok := c.entries.Get(op); ok && found.Record.Version >= op.Record.Version {
			continue
		}
		if op.Delete {
			op.Record.Data = nil
		}
		c.entries.Set(op)
		c.last, c.newest = max(c.last, op.Record.Version), max(c.newest, op.Record.Version)
	}
}

// issue gives out a version: wish, or what is above base and all that was seen.
func (c *copied) issue(base, wish int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(wish, base+1, c.last+1)
	return c.last
}

// lineage is the ID of the fleet whose records these are; "" if nobody gave one yet.
func (c *copied) lineage() string {
	op, _ := c.get(lineageKey)
	return string(op.Record.Data)
}

// lineageKey holds the lineage, in a record as any other.
var lineageKey = persistence.Key{Kind: "fleet", ID: "lineage"}

func (c *copied) empty() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries.Len() == 0
}

func (c *copied) latest() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.newest
}

// close closes the disk, unless that hangs until ctx ends.
func (c *copied) close(ctx context.Context) error {
	if c.disk == nil {
		return nil
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.disk.Close()
}
