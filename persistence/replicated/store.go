package replicated

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"opensessionmanager/persistence"
)

// ErrOtherFleet: this broker's records and those of the broker that leads never belonged
// together. Joining them would mix two fleets' keys.
var ErrOtherFleet = errors.New("replicated: this broker keeps records of another fleet than the one it finds; decide which to keep, and move broker.db out of the working path of the others")

// Disk keeps a copy over restarts. embedded.Store is one.
type Disk interface {
	// Keep replaces records and marks by these; durable when it returns nil.
	Keep(ctx context.Context, changes []persistence.Op) error
	// Kept calls each with all of them.
	Kept(ctx context.Context, each func(persistence.Op)) error
	// Drop forgets them.
	Drop(ctx context.Context, keys []persistence.Key) error
	Close() error
}

// Config of a Store. Call and Permit are required; what else is zero becomes its default.
type Config struct {
	Disk Disk // nil: the copy is in memory only
	// Call has another broker's Store serve a request of this one's.
	Call func(ctx context.Context, to string, body []byte) ([]byte, error)
	// Permit is nil while this broker, if it leads, may act.
	Permit func() error
	// Lease is for how long a follower may read without having heard of the leader.
	// Default 1 s.
	Lease time.Duration
	// Wait is how long a call waits for a leader. Default 5 s.
	Wait time.Duration
	// Gather is how long a new leader waits for the copies of the others. Default 10 s.
	Gather time.Duration
	Logger *slog.Logger     // default: nowhere
	Now    func() time.Time // default time.Now
}

func (c Config) withDefaults() Config {
	c.Lease = cmp.Or(c.Lease, time.Second)
	c.Wait = cmp.Or(c.Wait, 5*time.Second)
	c.Gather = cmp.Or(c.Gather, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Role is who leads, and who is there.
type Role struct {
	Self   string
	Leader string // "": nobody
	Term   uint64 // higher with each leader
	Alive  []string
	Gone   []string // brokers whose process certainly ended
}

// Store is a persistence.Store that several brokers have together.
type Store struct {
	cfg  Config
	log  *slog.Logger
	copy *copied

	running sync.WaitGroup // calls
	loops   sync.WaitGroup // what goes on behind them
	life    context.Context
	end     context.CancelFunc

	writing chan struct{} // full while the leader does a batch (alone); before copied.keeping

	mu        sync.Mutex
	closed    bool
	failure   error // for good
	role      Role
	acting    context.Context // ends with the role
	stop      context.CancelFunc
	changed   chan struct{} // closed when what await looks at changed
	ready     bool
	lacking   bool                 // of a follower: its disk refused a change
	lease     time.Time            // when the beat was sent that the leader confirmed last
	followers map[string]*follower // of a leader
	adopted   adoption
}

var _ persistence.Store = (*Store)(nil)

// Open reads the copy of this broker. It serves once SetRole said who leads.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	s := &Store{cfg: cfg, log: cfg.Logger, changed: make(chan struct{}), copy: newCopied(cfg), writing: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	s.acting, s.stop = context.WithCancel(s.life)
	if err := s.copy.load(ctx, s.horizon()); err != nil {
		s.end()
		return nil, err
	}
	s.loops.Go(s.forget)
	return s, nil
}

// forget drops old marks now and then, whoever leads.
func (s *Store) forget() {
	for pause(s.life, keepMarks/100) {
		if err := s.copy.prune(s.life, s.horizon()); err != nil && s.life.Err() == nil {
			s.log.Warn("old marks of deleted records could not be forgotten", "error", err)
		}
	}
}

// Health is nil, or why this broker's disk keeps nothing for now. It should not lead while
// the disk of another one does.
func (s *Store) Health() error { return s.copy.health() }

// SetRole says who leads from now on.
func (s *Store) SetRole(r Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.role
	s.role = r
	if s.closed {
		return
	}
	if r.Leader != before.Leader || r.Term != before.Term {
		s.stop()
		s.acting, s.stop = context.WithCancel(s.life)
		s.ready, s.lacking, s.lease = false, false, time.Time{}
		s.followers, s.adopted = map[string]*follower{}, adoption{}
		acting := s.acting
		switch r.Leader {
		case "":
		case r.Self:
			s.loops.Go(func() { s.gather(acting, r.Term) })
		default:
			s.loops.Go(func() { s.follow(acting, r.Leader, r.Term) })
		}
	}
	s.signal()
}

// signal wakes who waits; mu is held.
func (s *Store) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Ready waits until this broker's copy is complete, or never will be.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.await(ctx, false)
	return err
}

// begin counts a call, so that Close can wait for it.
func (s *Store) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: closed", persistence.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	s.running.Add(1)
	return nil
}

// await waits until this broker may serve, and returns the role it then has.
func (s *Store) await(ctx context.Context, bounded bool) (Role, error) {
	if bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.Wait)
		defer cancel()
	}
	for {
		role, changed, err := s.serving()
		if err == nil {
			return role, nil
		}
		again := time.NewTimer(50 * time.Millisecond) // Permit and the lease change in silence
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return Role{}, fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
		}
		again.Stop()
		if errors.Is(err, ErrOtherFleet) || errors.Is(err, errClosed) {
			return Role{}, fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
		}
	}
}

var (
	errClosed   = errors.New("closed")
	errNoLeader = errors.New("no broker leads for now")
	errBehind   = errors.New("this broker's copy is not complete")
	errSilent   = errors.New("the broker that leads does not answer")
)

// serving is nil while what is in the copy may be read.
func (s *Store) serving() (Role, <-chan struct{}, error) {
	s.mu.Lock()
	role, changed, ready, lease := s.role, s.changed, s.ready, s.lease
	closed, failure := s.closed, s.failure
	s.mu.Unlock()
	switch {
	case closed:
		return role, changed, errClosed
	case failure != nil:
		return role, changed, failure
	case role.Leader == role.Self && role.Self != "":
		if err := s.cfg.Permit(); err != nil {
			return role, changed, err
		}
		if !ready {
			return role, changed, errBehind
		}
		return role, changed, nil
	case role.Leader == "":
		return role, changed, cmp.Or(s.cfg.Permit(), errNoLeader)
	case !ready:
		return role, changed, errBehind
	case age(s.cfg.Now(), lease) > s.cfg.Lease:
		return role, changed, errSilent
	}
	return role, changed, nil
}

// age is the time since then by the monotonic or the wall clock, whichever says more:
// the former stands still while a virtual machine is suspended.
func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// Load implements persistence.Store.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	if err := s.begin(ctx); err != nil {
		return persistence.Record{}, err
	}
	defer s.running.Done()
	if _, err := s.await(ctx, true); err != nil {
		return persistence.Record{}, err
	}
	found, ok := s.copy.get(key)
	if !ok || found.Delete {
		return persistence.Record{}, persistence.ErrNotFound
	}
	return clone(found.Record), nil
}

// Scan implements persistence.Store.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.running.Done()
	if _, err := s.await(ctx, true); err != nil {
		return nil, err
	}
	var page []persistence.Record
	s.copy.walk(persistence.Key{Kind: kind, ID: after}, func(op persistence.Op) bool {
		if op.Record.Key.Kind != kind || len(page) >= limit {
			return false
		}
		if !op.Delete {
			page = append(page, clone(op.Record))
		}
		return true
	})
	return page, nil
}

// Save implements persistence.Store.
func (s *Store) Save(ctx context.Context, record persistence.Record) (int64, error) {
	result := s.Apply(ctx, []persistence.Op{{Record: record}})[0]
	return result.Version, result.Err
}

// Delete implements persistence.Store.
func (s *Store) Delete(ctx context.Context, key persistence.Key, version int64) error {
	return s.Apply(ctx, []persistence.Op{{Record: persistence.Record{Key: key, Version: version}, Delete: true}})[0].Err
}

// Close implements persistence.Store. It closes the disk as well; a disk that hangs is
// waited for no longer than Config.Wait, and then left open.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.signal()
	s.mu.Unlock()
	if already {
		return nil
	}
	s.running.Wait()
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Wait)
	defer cancel()
	idle := make(chan struct{})
	go func() { s.loops.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	return s.copy.close(ctx)
}

// nextVersion is one that nobody else gives: the time in microseconds and a random
// byte, above all that this broker has seen.
func (s *Store) nextVersion(base int64) int64 {
	return s.copy.issue(base, s.cfg.Now().UnixMicro()<<8|rand.Int64N(256))
}

// keepMarks is how long it is remembered that a record was deleted. The copy of a broker
// that was away longer is not looked at.
const keepMarks = 24 * time.Hour

func (s *Store) horizon() int64 { return s.cfg.Now().Add(-keepMarks).UnixMicro() << 8 }
