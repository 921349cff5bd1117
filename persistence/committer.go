package persistence

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// CommitterConfig bounds a Committer. What is zero becomes its default.
type CommitterConfig struct {
	MaxQueue      int           // most writes, and most loads, not yet done; default 16,384
	MaxQueueBytes int           // most Data of writes not yet done; default 64 MiB, never under MaxDataSize
	MaxBatch      int           // most ops of one Apply; default 1,024
	Loaders       int           // loads under way at once; default 8
	Timeout       time.Duration // of one call of the store; default 10 s
	Logger        *slog.Logger  // default: nowhere
}

// maxBatchBytes ends a batch early, as a transaction of many large records would
// hold up everybody behind it.
const maxBatchBytes = 4 << 20

func (c CommitterConfig) withDefaults() CommitterConfig {
	c.MaxQueue = cmp.Or(c.MaxQueue, 16<<10)
	c.MaxQueueBytes = max(cmp.Or(c.MaxQueueBytes, 64<<20), MaxDataSize)
	c.MaxBatch = cmp.Or(c.MaxBatch, 1<<10)
	c.Loaders = cmp.Or(c.Loaders, 8)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// Committer lets callers that must not block, actors, use a Store. It commits in
// groups: one goroutine applies whatever was queued while the previous batch was
// being written and never waits for more, so that a store whose writes cost a sync
// or a round trip pays it once for many callers, and a lone write is not delayed.
// Batches are built as calls come in, hence the next one is complete at the moment
// the disk is free again.
//
// Every done is called exactly once, from another goroutine. It must not block, as
// it holds up the others (sending to a mailbox is what it is for). If it panics,
// that is logged.
//
// Writes take effect in the order of the calls. A load sees every write of its key
// that was queued before it, and may see later ones.
type Committer struct {
	store Store
	cfg   CommitterConfig

	mu      sync.Mutex
	batches []*batch       // not yet taken by the writer; all but the last are full
	spare   *batch         // emptied, to be filled again
	written int64          // number of the newest write, counted from 1
	newest  map[Key]int64  // number of the newest write of a key that has one not done
	parked  map[Key][]load // loads waiting until their key has none
	writes  int            // not done
	bytes   int            // Data of those
	loads   int            // not done
	health  error
	under   *batch // being written
	closed  bool

	wake    chan struct{} // holds one: there may be a batch; closed by Close
	ready   chan load     // has room for all loads there may be; closed by the writer
	running sync.WaitGroup

	life   context.Context // of all calls of the store
	giveUp context.CancelFunc
}

// batch is what becomes one Apply. dones are index-aligned with ops.
type batch struct {
	ops   []Op
	dones []func(Result)
	first int64 // number of ops[0]; the others follow without a gap
	bytes int
}

type load struct {
	key  Key
	done func(Record, error)
}

// NewCommitter starts a committer on store, which the caller closes after it.
func NewCommitter(store Store, cfg CommitterConfig) *Committer {
	cfg = cfg.withDefaults()
	c := &Committer{
		store:  store,
		cfg:    cfg,
		newest: make(map[Key]int64),
		parked: make(map[Key][]load),
		wake:   make(chan struct{}, 1),
		ready:  make(chan load, cfg.MaxQueue),
	}
	c.life, c.giveUp = context.WithCancel(context.Background())
	c.running.Go(c.write)
	for range cfg.Loaders {
		c.running.Go(c.read)
	}
	return c
}

// Save is Store.Save. Data must be left alone until done is called. A full queue or
// a closed committer is ErrUnavailable: nothing was written.
func (c *Committer) Save(r Record, done func(version int64, err error)) {
	c.enqueue(Op{Record: r}, func(result Result) { done(result.Version, result.Err) })
}

// Delete is Store.Delete, refused as Save is.
func (c *Committer) Delete(k Key, version int64, done func(err error)) {
	op := Op{Record: Record{Key: k, Version: version}, Delete: true}
	c.enqueue(op, func(result Result) { done(result.Err) })
}

// Load is Store.Load, refused as Save is.
func (c *Committer) Load(k Key, done func(Record, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.room(c.loads, 0); err != nil {
		c.refuse(func() { done(Record{}, err) })
		return
	}
	c.loads++
	if _, writing := c.newest[k]; writing {
		c.parked[k] = append(c.parked[k], load{k, done})
		return
	}
	c.ready <- load{k, done} // has room: see room
}

// Health is nil, or why the store took nothing of the newest batch, or does not end it
// within the timeout: a broker that cannot write must not call itself ready. It is nil
// again after a batch of which the store took or refused something in the ordinary way.
func (c *Committer) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

// Queued is how many writes and loads are not done.
func (c *Committer) Queued() (writes, loads int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes, c.loads
}

// Close refuses calls from now on, does what is queued, and returns when the last
// done of it was called. When ctx ends it gives up what is under way and queued: a store
// that hangs is not waited for once for each call. A done must not call Close. Closing
// again only waits, and gives up when its ctx ends.
func (c *Committer) Close(ctx context.Context) {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.wake) // nobody sends: enqueue looks at closed under the same lock
	}
	c.mu.Unlock()
	defer context.AfterFunc(ctx, c.giveUp)()
	c.running.Wait()
	c.giveUp() // nothing is left; it only lets go of the context
}

func (c *Committer) enqueue(op Op, done func(Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := op.Check()
	if err == nil {
		err = c.room(c.writes, len(op.Record.Data))
	}
	if err != nil {
		c.refuse(func() { done(Result{Err: err}) })
		return
	}
	c.written++
	c.newest[op.Record.Key] = c.written
	c.writes++
	c.bytes += len(op.Record.Data)
	c.batchFor(op).add(op, done)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// batchFor is the batch being filled, or a new one if op does not fit.
func (c *Committer) batchFor(op Op) *batch {
	if n := len(c.batches); n > 0 {
		last := c.batches[n-1]
		if len(last.ops) < c.cfg.MaxBatch && last.bytes+len(op.Record.Data) <= maxBatchBytes {
			return last
		}
	}
	fresh := cmp.Or(c.spare, &batch{})
	c.spare = nil
	fresh.first = c.written
	c.batches = append(c.batches, fresh)
	return fresh
}

func (b *batch) add(op Op, done func(Result)) {
	b.ops = append(b.ops, op)
	b.dones = append(b.dones, done)
	b.bytes += len(op.Record.Data)
}
