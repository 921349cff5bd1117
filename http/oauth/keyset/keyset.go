// Package keyset keeps the public keys of an external authorization server: fetched
// from its JWKS URL, again every ten minutes, and at once, but not often, when a
// token names a key that is not known. What a server answers is bounded in time,
// size and number of keys. While it is away, or answers nonsense, the keys it had
// count on, for a day (F22).
package keyset

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	refreshEvery = 10 * time.Minute
	// firstRetry doubles with every failure up to longRetry.
	firstRetry = 10 * time.Second
	longRetry  = 5 * time.Minute
	// demandEvery and demandAtOnce bound the fetches that tokens ask for: whoever
	// invents key ids cannot make the broker a burden to the server.
	demandEvery  = 10 * time.Second
	demandAtOnce = 4
	// keepFor is how long keys count after the last fetch that worked.
	keepFor = 24 * time.Hour
)

// Config is what a Set needs; every field but Algorithm is required.
type Config struct {
	URL       string
	Algorithm string // of keys that name none; if given, of all
	Client    *http.Client
	Logger    *slog.Logger
	Now       func() time.Time
}

// Set is the keys of one server. Its methods may be called concurrently.
type Set struct {
	cfg  Config
	base context.Context
	end  context.CancelFunc
	keys atomic.Pointer[keys]

	mu      sync.Mutex
	flight  chan struct{} // closed when the fetch under way has ended; nil: there is none
	closed  bool
	demands *rate.Limiter
	due     time.Time // of the next one that nobody asks for
	retry   time.Duration
	problem string
	running sync.WaitGroup
}

// keys are immutable.
type keys struct {
	byID    map[string][]*Key
	all     []*Key
	fetched time.Time
}

// New returns a Set that begins to fetch; Close ends that.
func New(cfg Config) *Set {
	s := &Set{cfg: cfg, demands: rate.NewLimiter(rate.Every(demandEvery), demandAtOnce)}
	s.base, s.end = context.WithCancel(context.Background())
	s.keys.Store(&keys{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	return s
}

// Close drops the keys, and waits for the end of a fetch under way.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	s.replace(&keys{})
}

// Find returns the keys that a token with this header may have been signed with. A
// token that names no key fits only a set that leaves no choice, so that no token
// makes the broker try a hundred.
func (s *Set) Find(id, algorithm string) []*Key {
	current := s.current()
	candidates := current.all
	if id != "" {
		candidates = current.byID[id]
	}
	var found []*Key
	for _, key := range candidates {
		if key.Algorithm == algorithm {
			found = append(found, key)
		}
	}
	if id == "" && len(found) > 1 || len(found) > maxTwins {
		return nil
	}
	return found
}

// maxTwins bounds the keys that may share an id and an algorithm.
const maxTwins = 4

// Empty reports whether there is no key: the server was never reached, or not for a day.
func (s *Set) Empty() bool { return len(s.current().all) == 0 }

// current drops keys that are too old.
func (s *Set) current() *keys {
	k := s.keys.Load()
	if len(k.all) > 0 && s.cfg.Now().Sub(k.fetched) > keepFor {
		k.drop()
		return &keys{}
	}
	return k
}

// Demand begins a fetch for a token whose key is not known, or joins the one under
// way. The channel is closed at its end; nil if it is too early for another.
func (s *Set) Demand() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && !s.demands.AllowN(s.cfg.Now(), 1) {
		return nil
	}
	return s.begin()
}

// Refresh begins a fetch if one is due, and reports whether it was.
func (s *Set) Refresh() (due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if due = !s.cfg.Now().Before(s.due); due {
		s.begin()
	}
	return due
}

// Status is for administrators.
type Status struct {
	Keys    int       // that can verify tokens
	Fetched time.Time // last time that worked; zero: never
	Problem string    // of the last fetch, if it failed
}

// Status says how the set is.
func (s *Set) Status() Status {
	k := s.current()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Keys: len(k.all), Fetched: k.fetched, Problem: s.problem}
}

// begin starts a fetch unless one is under way. Under mu.
func (s *Set) begin() <-chan struct{} {
	if s.flight != nil || s.closed {
		return s.flight
	}
	done := make(chan struct{})
	s.flight = done
	s.running.Go(func() {
		fresh, err := s.get()
		s.landed(fresh, err)
		close(done)
	})
	return done
}

func (s *Set) get() ([]*Key, error) {
	data, err := fetch(s.base, s.cfg.Client, s.cfg.URL)
	if err != nil {
		return nil, err
	}
	return parse(data, s.cfg.Algorithm)
}

func (s *Set) landed(fresh []*Key, err error) {
	if err == nil {
		s.replace(index(fresh, s.keys.Load(), s.cfg.Now()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	if s.base.Err() != nil {
		return
	}
	now, before := s.cfg.Now(), s.problem
	if err == nil {
		s.problem, s.retry, s.due = "", 0, now.Add(refreshEvery)
		if before != "" {
			s.cfg.Logger.Info("keys of an authorization server are fetched again", slog.String("url", s.cfg.URL), slog.Int("keys", len(fresh)))
		}
		return
	}
	s.retry = min(max(2*s.retry, firstRetry), longRetry)
	s.problem, s.due = err.Error(), now.Add(s.retry)
	if before != s.problem { // once, not every time
		s.cfg.Logger.Warn("keys of an authorization server cannot be fetched; those it had count on", slog.String("url", s.cfg.URL),
			slog.String("reason", s.problem), slog.Int("keys", len(s.keys.Load().all)))
	}
}

func (s *Set) replace(fresh *keys) {
	before := s.keys.Swap(fresh)
	for _, key := range before.all {
		if !fresh.has(key) {
			key.dropped.Store(true)
		}
	}
}

// index takes over the keys that are there already, so that tokens which were checked
// with them go on counting.
func index(fresh []*Key, before *keys, now time.Time) *keys {
	k := &keys{byID: make(map[string][]*Key, len(fresh)), fetched: now}
	for _, key := range fresh {
		for _, old := range before.byID[key.ID] {
			if old.same(key) && !old.Dropped() {
				key = old
			}
		}
		k.all = append(k.all, key)
		k.byID[key.ID] = append(k.byID[key.ID], key)
	}
	return k
}

func (k *keys) has(key *Key) bool {
	for _, other := range k.byID[key.ID] {
		if other == key {
			return true
		}
	}
	return false
}

func (k *keys) drop() {
	for _, key := range k.all {
		key.dropped.Store(true)
	}
}
