package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultTTL is the time to live if Options does not say.
const DefaultTTL = 3 * time.Second

// Options of a Keeper. What is zero becomes its default.
type Options struct {
	// TTL is how long a view counts as confirmed, and how long the registry lists a
	// broker without a beat. Default DefaultTTL.
	TTL time.Duration
	// Heartbeat is the time between beats, and the longest a query waits. Default TTL/4.
	Heartbeat time.Duration
	// Grace is how long the registry must have missed a member, by this broker's clock.
	// Default 0.5 s.
	Grace time.Duration
	// ProbeTimeout bounds one probe. Default 150 ms.
	ProbeTimeout time.Duration
	// Pace is the least time after a removal before a member is removed that is silent,
	// so that what the first one owned is settled. Those who left or whose process has
	// certainly ended (ErrGone) need not wait. Default 2 s.
	Pace time.Duration
	// Settle is how long a broker that finds nobody waits before it makes the first
	// view; longer than a Heartbeat, in which lost members register anew. Default
	// Heartbeat/3 more than that.
	Settle time.Duration
	// Wait is how long it waits for brokers that are listed but have no view.
	// Default 2 TTL.
	Wait time.Duration
	// Protocol and Oldest are the versions this broker speaks. Default those of this package.
	Protocol, Oldest int
	Logger           *slog.Logger     // default: nowhere
	Now              func() time.Time // default time.Now
}

func (o Options) withDefaults() Options {
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	o.Heartbeat = cmp.Or(o.Heartbeat, o.TTL/4)
	o.Grace = cmp.Or(o.Grace, 500*time.Millisecond)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, 150*time.Millisecond)
	o.Pace = cmp.Or(o.Pace, 2*time.Second)
	o.Settle = cmp.Or(o.Settle, o.Heartbeat+o.Heartbeat/3)
	o.Wait = cmp.Or(o.Wait, 2*o.TTL)
	o.Protocol = cmp.Or(o.Protocol, Protocol)
	o.Oldest = cmp.Or(o.Oldest, OldestProtocol)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) rules() rules {
	return rules{grace: o.Grace, pace: o.Pace, settle: o.Settle, wait: o.Wait,
		stray: o.Grace + o.TTL/3, orphaned: 2 * o.TTL, patience: o.TTL / 3, isolation: o.TTL / 3, freshness: 2*o.ProbeTimeout + o.Grace}
}

// Keeper is the Source of a fleet that shares a registry: it follows the document
// there, keeps this broker listed, and proposes who is added and removed.
type Keeper struct {
	registry Registry
	opt      Options
	log      *slog.Logger
	board    Board
	// confirmed is when this broker asked for the answer that showed its view as
	// current; nil while it is no member.
	confirmed atomic.Pointer[time.Time]

	joined  chan struct{} // closed, by decided, when a view holds self or never will
	decided func()
	removed chan struct{}
	parted  chan struct{} // closed when, while leaving, a view is without self
	wake    chan struct{} // tells steer to look again
	ended   chan struct{} // closed when no goroutine is left

	life, announcing context.Context // of all goroutines; of the listing
	end, withdraw    context.CancelFunc
	work             sync.WaitGroup

	mu      sync.Mutex
	phase   phase
	failure error // why Join failed
	self    Entry
	probe   Probe
	observed
}

type phase int

const (
	fresh    phase = iota
	joining        // Join runs
	member         // in the view
	leaving        // Leave runs
	expelled       // removed by the others
	over           // left, or not let in
	never          // left before it joined
)

var _ Source = (*Keeper)(nil)

// New returns the source of one incarnation of a broker.
func New(r Registry, o Options) *Keeper {
	k := &Keeper{registry: r, opt: o.withDefaults(), observed: newObserved(),
		joined: make(chan struct{}), removed: make(chan struct{}), parted: make(chan struct{}), wake: make(chan struct{}, 1),
		ended: make(chan struct{})}
	k.log = k.opt.Logger
	k.decided = sync.OnceFunc(func() { close(k.joined) })
	k.life, k.end = context.WithCancel(context.Background())
	k.announcing, k.withdraw = context.WithCancel(k.life)
	return k
}

// Join implements Source.
func (k *Keeper) Join(ctx context.Context, self Member, probe Probe) error {
	if err := k.begin(self, probe); err != nil {
		return err
	}
	var err error
	select {
	case <-k.joined:
		k.mu.Lock()
		err = k.failure
		k.mu.Unlock()
	case <-ctx.Done():
		err = fmt.Errorf("membership: not joined: %w: %w", ctx.Err(), k.trouble())
	}
	if err != nil {
		k.finish()
	}
	return err
}

func (k *Keeper) begin(self Member, probe Probe) error {
	e := Entry{ID: self.ID, Address: self.Address, Protocol: k.opt.Protocol, Oldest: k.opt.Oldest}
	if err := e.check(); err != nil {
		return fmt.Errorf("membership: cannot join: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.phase != fresh {
		return errors.New("membership: a source joins once")
	}
	k.phase, k.self, k.probe = joining, e, probe
	for _, run := range []func(){k.follow, k.observe, k.steer} {
		k.work.Go(run)
	}
	go func() {
		k.work.Wait()
		k.registry.Close()
		close(k.ended)
	}()
	return nil
}

// finish ends all goroutines and waits for them.
func (k *Keeper) finish() {
	k.mu.Lock()
	began := k.phase != fresh && k.phase != never
	switch k.phase {
	case fresh:
		k.phase = never
	case expelled, never:
	default:
		k.phase = over
	}
	k.confirmed.Store(nil)
	k.mu.Unlock()
	k.end()
	if began {
		<-k.ended
	}
}

// Listed are the brokers that the registry lists now, also before this one has joined.
func (k *Keeper) Listed(ctx context.Context) ([]Entry, error) {
	entries, _, err := k.registry.Healthy(ctx, 0, 0)
	return slices.DeleteFunc(entries, func(e Entry) bool { return e.Failing != "" }), err
}

// Leave implements Source.
func (k *Keeper) Leave(ctx context.Context) error {
	k.mu.Lock()
	was := k.phase
	if was == member {
		k.phase = leaving
		k.confirmed.Store(nil)
	}
	id := k.self.ID
	k.mu.Unlock()
	var err error
	if was == member {
		err = k.part(ctx, id)
	}
	k.finish()
	return err
}

// part tells the others and waits until they have taken note, if any are left. A mark is
// lost when the registry moves to another broker.
func (k *Keeper) part(ctx context.Context, id string) error {
	if err := k.mark(ctx, id); err != nil {
		return err
	}
	k.withdraw()
	for {
		k.mu.Lock()
		last, marked := k.last(id, k.opt.Now(), k.opt.TTL), k.left[id]
		k.mu.Unlock()
		if last {
			return nil // the mark stays for whoever comes next
		}
		again := time.NewTimer(k.opt.Heartbeat)
		select {
		case <-k.parted:
		case <-k.life.Done():
		case <-again.C:
			if !marked {
				if err := k.mark(ctx, id); err != nil {
					return err
				}
			}
			continue
		case <-ctx.Done():
			again.Stop()
			return fmt.Errorf("membership: the others have not taken note: %w", ctx.Err())
		}
		again.Stop()
		return nil
	}
}

// mark tries until the registry has taken the mark.
func (k *Keeper) mark(ctx context.Context, id string) error {
	for attempt := 0; ; attempt++ {
		call, cancel := context.WithTimeout(ctx, k.opt.callTimeout())
		err := k.registry.MarkLeft(call, id)
		cancel()
		if err == nil {
			return nil
		}
		if !pause(ctx, backoff(attempt, k.opt.Heartbeat)) {
			return fmt.Errorf("membership: the others could not be told: %w: %w", ctx.Err(), err)
		}
	}
}

// Current implements Source.
func (k *Keeper) Current() *View { return k.board.Current() }

// Watch implements Source.
func (k *Keeper) Watch(f func(*View)) (stop func()) { return k.board.Watch(f) }

// Removed implements Source.
func (k *Keeper) Removed() <-chan struct{} { return k.removed }

// Suspect implements Source.
func (k *Keeper) Suspect(id string) {
	k.mu.Lock()
	k.suspect(id, k.opt.Now())
	k.mu.Unlock()
	k.look()
}

// look wakes steer.
func (k *Keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// callTimeout bounds a call that does not wait for a change.
func (o Options) callTimeout() time.Duration { return o.TTL / 3 }
