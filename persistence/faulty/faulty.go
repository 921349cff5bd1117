// Package faulty wraps a store and makes it misbehave as a real one may: it is
// unavailable, it is slow, and it lies, in the only way a store may lie: by not
// knowing whether a write happened. What it does depends on the seed, the key and
// how often the key was used, never on the clock or on how goroutines interleave,
// so a test that failed fails again with the printed seed.
package faulty

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"

	"opensessionmanager/persistence"
)

// Fault is what happens to one call, or to one op of a batch.
type Fault int

const (
	// None: the call passes through.
	None Fault = iota
	// Unavailable: nothing happens and the caller is told so.
	Unavailable
	// AnswerLost: the write happens, or is refused, and the caller gets ErrUncertain.
	AnswerLost
	// RequestLost: the write does not happen and the caller gets ErrUncertain.
	RequestLost
)

// Method names a method of persistence.Store; ops of a batch are Save or Delete.
type Method string

// The methods that can fail. Close always passes through.
const (
	Load   Method = "load"
	Save   Method = "save"
	Delete Method = "delete"
	Scan   Method = "scan"
)

// Call is one call, or one op of a batch, before it is made.
type Call struct {
	Method Method
	Key    persistence.Key // of a scan: the kind and the ID it begins after
	// Nth counts the calls of this method and key from 0.
	Nth int
}

// Config says how to misbehave; the zero value does not.
type Config struct {
	// Decide returns the fault of a call; nil means None always. A read cannot be
	// uncertain, so for it AnswerLost and RequestLost count as Unavailable. It is
	// called concurrently.
	Decide func(Call) Fault
	// Delay is called before each call of the store and may block, to hold the call
	// at this point; a batch is one call, with all its ops. Its error, usually the
	// context's, makes the call ErrUnavailable.
	Delay func(context.Context, []Call) error
}

// Odds are probabilities from 0 to 1; their sum is at most 1.
type Odds struct {
	Unavailable, AnswerLost, RequestLost float64
}

// Seeded returns a Config.Decide that throws dice.
func Seeded(seed uint64, odds Odds) func(Call) Fault {
	return func(c Call) Fault {
		id := fnv.New64a()
		_, _ = fmt.Fprintf(id, "%s\x00%s\x00%s", c.Method, c.Key.Kind, c.Key.ID) // a hash never fails
		_ = binary.Write(id, binary.BigEndian, int64(c.Nth))
		dice := rand.New(rand.NewPCG(seed, id.Sum64())).Float64()
		for _, side := range []struct {
			fault Fault
			odds  float64
		}{{Unavailable, odds.Unavailable}, {AnswerLost, odds.AnswerLost}, {RequestLost, odds.RequestLost}} {
			if dice < side.odds {
				return side.fault
			}
			dice -= side.odds
		}
		return None
	}
}

// Store is a persistence.Store with faults.
type Store struct {
	inner persistence.Store
	cfg   Config

	mu    sync.Mutex
	calls map[Call]int // how often, by call with Nth 0
}

var _ persistence.Store = (*Store)(nil)

// New wraps inner. Closing the result closes inner.
func New(inner persistence.Store, cfg Config) *Store {
	return &Store{inner: inner, cfg: cfg, calls: make(map[Call]int)}
}

// Load implements persistence.Store.
func (s *Store) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	if err := s.read(ctx, Load, key); err != nil {
		return persistence.Record{}, err
	}
	return s.inner.Load(ctx, key)
}

// Scan implements persistence.Store.
func (s *Store) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	if err := s.read(ctx, Scan, persistence.Key{Kind: kind, ID: after}); err != nil {
		return nil, err
	}
	return s.inner.Scan(ctx, kind, after, limit)
}

func (s *Store) read(ctx context.Context, method Method, key persistence.Key) error {
	call := s.next(method, key)
	if err := s.delay(ctx, []Call{call}); err != nil {
		return err
	}
	if s.decide(call) != None {
		return injected(persistence.ErrUnavailable)
	}
	return nil
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

// Apply implements persistence.Store.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := make([]persistence.Result, len(ops))
	calls := make([]Call, len(ops))
	for i, op := range ops {
		method := Save
		if op.Delete {
			method = Delete
		}
		calls[i] = s.next(method, op.Record.Key)
	}
	if err := s.delay(ctx, calls); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	var passed []persistence.Op
	var index []int
	faults := make([]Fault, len(ops))
	for i, call := range calls {
		switch faults[i] = s.decide(call); faults[i] {
		case Unavailable:
			results[i].Err = injected(persistence.ErrUnavailable)
		case RequestLost:
			results[i].Err = injected(persistence.ErrUncertain)
		default:
			passed, index = append(passed, ops[i]), append(index, i)
		}
	}
	for j, result := range s.inner.Apply(ctx, passed) {
		if faults[index[j]] == AnswerLost {
			result = persistence.Result{Err: injected(persistence.ErrUncertain)}
		}
		results[index[j]] = result
	}
	return results
}

// Close implements persistence.Store.
func (s *Store) Close() error { return s.inner.Close() }

func (s *Store) next(method Method, key persistence.Key) Call {
	call := Call{Method: method, Key: key}
	s.mu.Lock()
	defer s.mu.Unlock()
	nth := s.calls[call]
	s.calls[call]++
	call.Nth = nth
	return call
}

func (s *Store) delay(ctx context.Context, calls []Call) error {
	if s.cfg.Delay == nil {
		return nil
	}
	if err := s.cfg.Delay(ctx, calls); err != nil {
		return fmt.Errorf("%w: %w", persistence.ErrUnavailable, err)
	}
	return nil
}

func (s *Store) decide(call Call) Fault {
	if s.cfg.Decide == nil {
		return None
	}
	return s.cfg.Decide(call)
}

func injected(err error) error { return fmt.Errorf("faulty: injected: %w", err) }
