package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// This file is the committer's own side: its goroutines and what they share with
// the callers under mu.

// room is nil if one more call fits beside waiting others of its sort.
func (c *Committer) room(waiting, size int) error {
	switch {
	case c.closed:
		return fmt.Errorf("%w: committer closed", ErrUnavailable)
	case waiting >= c.cfg.MaxQueue, c.bytes+size > c.cfg.MaxQueueBytes && size > 0:
		return fmt.Errorf("%w: too many calls wait for it", ErrUnavailable)
	}
	return nil
}

// refuse calls done soon; mu is held. Close waits for refusals from before it, and
// cannot for those after it.
func (c *Committer) refuse(done func()) {
	if c.closed {
		go c.guard("done", done)
		return
	}
	c.running.Go(func() { c.guard("done", done) })
}

// write is the only goroutine that writes, which is what keeps writes in order.
func (c *Committer) write() {
	for open := true; open; {
		_, open = <-c.wake
		for b := c.take(); b != nil; b = c.take() {
			c.commit(b)
		}
	}
	close(c.ready) // nothing is parked any more and no load comes in
}

func (c *Committer) take() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.batches) == 0 {
		return nil
	}
	b := c.batches[0]
	c.batches[0] = nil
	c.batches = c.batches[1:]
	return b
}

func (c *Committer) commit(b *batch) {
	c.begin(b)
	overdue := time.AfterFunc(c.cfg.Timeout, func() { c.overdue(b) })
	results := c.apply(b.ops)
	overdue.Stop()
	c.diagnose(results)
	for i, done := range b.dones {
		c.guard("done", func() { done(results[i]) })
	}
	c.settle(b)
}

// apply is Store.Apply within the timeout. A store that breaks its contract leaves
// the outcome open.
func (c *Committer) apply(ops []Op) (results []Result) {
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
	defer cancel()
	c.guard("store", func() { results = c.store.Apply(ctx, ops) })
	if len(results) == len(ops) {
		return results
	}
	results = make([]Result, len(ops))
	for i := range results {
		results[i].Err = fmt.Errorf("%w: the store gave no answer", ErrUncertain)
	}
	return results
}

func (c *Committer) begin(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under = b
}

// overdue calls a store sick that does not even keep to the timeout, such as one on a disk
// that hangs: nothing would ever be known of it otherwise.
func (c *Committer) overdue(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under != b { // it ended just now
		return
	}
	before := c.health
	c.health = fmt.Errorf("%w: a write has not ended in %v", ErrUncertain, c.cfg.Timeout)
	if before == nil {
		c.cfg.Logger.Error("The store takes no writes.", slog.Any("error", c.health), slog.Int("writes", len(b.ops)))
	}
}

// diagnose keeps and logs whether the store works, once per change.
func (c *Committer) diagnose(results []Result) {
	sick := results[0].Err
	for _, r := range results {
		if !errors.Is(r.Err, ErrUnavailable) && !errors.Is(r.Err, ErrUncertain) {
			sick = nil
			break
		}
	}
	c.mu.Lock()
	before := c.health
	c.health, c.under = sick, nil
	c.mu.Unlock()
	switch {
	case sick != nil && before == nil:
		c.cfg.Logger.Error("The store takes no writes.", slog.Any("error", sick), slog.Int("writes", len(results)))
	case sick == nil && before != nil:
		c.cfg.Logger.Info("The store takes writes again.")
	}
}

// settle lets go of a batch whose dones were called, and of loads that waited for it.
func (c *Committer) settle(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, op := range b.ops {
		if key := op.Record.Key; c.newest[key] == b.first+int64(i) {
			delete(c.newest, key)
			for _, l := range c.parked[key] {
				c.ready <- l // has room: see room
			}
			delete(c.parked, key)
		}
	}
	c.writes -= len(b.ops)
	c.bytes -= b.bytes
	clear(b.ops)
	clear(b.dones)
	c.spare = &batch{ops: b.ops[:0], dones: b.dones[:0]}
}

// read does loads until there are none and the writer is gone.
func (c *Committer) read() {
	for l := range c.ready {
		record, err := c.fetch(l.key)
		c.mu.Lock()
		c.loads--
		c.mu.Unlock()
		c.guard("done", func() { l.done(record, err) })
	}
}

func (c *Committer) fetch(key Key) (record Record, err error) {
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
	defer cancel()
	err = fmt.Errorf("%w: the store gave no answer", ErrUnavailable)
	c.guard("store", func() { record, err = c.store.Load(ctx, key) })
	return record, err
}

// guard keeps a panic from ending the process, and with it every other caller's work.
func (c *Committer) guard(of string, call func()) {
	defer func() {
		if p := recover(); p != nil {
			c.cfg.Logger.Error("A call of the committer panicked.",
				slog.String("of", of), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	call()
}
