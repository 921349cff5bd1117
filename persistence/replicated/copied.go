package replicated

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"opensessionmanager/persistence"
)

// copied is this broker's copy of all records and marks. A mark is an Op with Delete.
type copied struct {
	disk Disk

	keeping sync.Mutex // around comparing, the disk and the memory; before mu

	mu      sync.RWMutex
	entries *btree.BTreeG[persistence.Op]
	last    int64 // highest version seen or given out
	newest  int64 // highest version in it
}

func newCopied(disk Disk) *copied {
	return &copied{disk: disk, entries: btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})}
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

// prune forgets marks that are older than the horizon.
func (c *copied) prune(ctx context.Context, horizon int64) error {
	var old []persistence.Key
	c.walk(persistence.Key{}, func(op persistence.Op) bool {
		if op.Delete && op.Record.Version < horizon {
			old = append(old, op.Record.Key)
		}
		return true
	})
	return c.drop(ctx, old)
}

// drop forgets entries.
func (c *copied) drop(ctx context.Context, keys []persistence.Key) error {
	if len(keys) == 0 {
		return nil
	}
	c.keeping.Lock()
	defer c.keeping.Unlock()
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
	var all []persistence.Key
	c.walk(persistence.Key{}, func(op persistence.Op) bool { all = append(all, op.Record.Key); return true })
	err := c.drop(ctx, all)
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
// and in memory when it returns nil; else nothing of it is in memory.
func (c *copied) take(ctx context.Context, changes []persistence.Op) error {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	fresh := c.fresh(changes)
	if len(fresh) == 0 {
		return nil
	}
	if c.disk != nil {
		if err := c.disk.Keep(ctx, fresh); err != nil {
			return err
		}
	}
	c.put(fresh)
	return nil
}

func (c *copied) fresh(changes []persistence.Op) []persistence.Op {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var fresh []persistence.Op
	for _, op := range changes {
		if found, ok := c.entries.Get(op); !ok || found.Record.Version < op.Record.Version {
			fresh = append(fresh, op)
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

func (c *copied) close() error {
	if c.disk == nil {
		return nil
	}
	return c.disk.Close()
}
