package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/identity"
	"opensessionmanager/messages"
)

// Host tells what the machine is and how busy it is.
type Host interface {
	// Facts returns what rarely changes. The result is shared and never changed;
	// the same pointer means that nothing changed.
	Facts(ctx context.Context) *messages.ServerFacts
	// Load returns the present load; the result is the caller's. The agent fills
	// in the health of the DCV server.
	Load(ctx context.Context) *messages.ServerLoad
}

// TokenSource hands out what the broker wants to see before it talks.
type TokenSource interface {
	// Token returns a bearer token, "" if the broker wants none.
	Token(ctx context.Context) (string, error)
	// Reject tells that the broker did not accept the token.
	Reject(token string)
	// Replace makes this host a client of its own after it found itself to be a
	// copy of another one.
	Replace(ctx context.Context) error
}

// Limits are the host's own. The agent is the last gate: it refuses what would
// exceed them whatever a broker believes (design section 2). -1 means no limit.
type Limits struct {
	MaxVirtual int32
	// MaxPerUser counts the virtual sessions of one owner.
	MaxPerUser int32
	MaxConsole int32
}

// Timing holds the agent's periods and deadlines. Zero fields take their defaults.
type Timing struct {
	// Report is the time between full reports; default 30 s (contract section 7).
	Report time.Duration
	// Debounce delays the report after a change, so that one covers several; 200 ms.
	Debounce time.Duration
	// Beat is used when the broker names no ping interval; 4 s. A silent broker is
	// given up after three beats.
	Beat time.Duration
	// Dial bounds TCP, TLS and upgrade together, Hello the answer to hello; 10 s each.
	Dial, Hello time.Duration
	// Write bounds one frame; 30 s, since a screenshot may be large.
	Write time.Duration
	// RetryBase and RetryLimit shape the jittered delay between dials, 0.5 s and
	// 4 s: with Dial, a host is back less than 15 s after a broker is (C2). A broker
	// that refuses the agent is asked at most every RefusedLimit, 30 s.
	RetryBase, RetryLimit, RefusedLimit time.Duration
	// List bounds a look at the sessions, Command every command but create; 10 s, 30 s.
	List, Command time.Duration
	// Create bounds a create, 60 s; of these, Ready is spent waiting for a
	// dcvserver that is not running yet, 20 s (C5).
	Create, Ready time.Duration
}

// Config is what an agent is made of. Brokers, Transport, Driver, Host, Identity
// and Logger are required.
type Config struct {
	// Brokers are "host:port" of agent ports, any of which will do.
	Brokers   []string
	Transport *Transport
	// Tokens is nil if the broker wants no authorization.
	Tokens   TokenSource
	Driver   driver.Driver
	Host     Host
	Identity *identity.Identity
	Limits   Limits
	Timing   Timing
	Version  string
	Logger   *slog.Logger
	// WallClock is time.Now unless set; it only serves to notice suspension.
	WallClock func() time.Time
}

// Status is a moment's view of an agent.
type Status struct {
	// Connected is true from the broker's hello to the end of the connection.
	Connected bool
	Broker    string
	ServerID  string
	// LastAck is when the broker last confirmed a report; zero if never.
	LastAck time.Time
}

// Agent is one host's agent. Create it with New, then call Run once.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	started  time.Time
	sequence atomic.Int64
	current  atomic.Pointer[link]
	changed  chan struct{} // holds at most one: a report is due
	work     *executor
	gate     *gate
	reporter *reporter
	lastAck  atomic.Int64 // Unix milliseconds
	broker   int          // index of the broker to dial
	denied   int          // upgrades answered with 401 in a row
	renewals int          // identities found to be taken
}

// New checks the configuration and returns an agent that does nothing yet.
func New(cfg Config) (*Agent, error) {
	switch {
	case len(cfg.Brokers) == 0:
		return nil, errors.New("agent: no broker given")
	case cfg.Transport == nil, cfg.Driver == nil, cfg.Host == nil, cfg.Identity == nil, cfg.Logger == nil:
		return nil, errors.New("agent: Transport, Driver, Host, Identity and Logger are required")
	}
	cfg.Timing = cfg.Timing.withDefaults()
	if cfg.WallClock == nil {
		cfg.WallClock = time.Now
	}
	a := &Agent{
		cfg:     cfg,
		log:     cfg.Logger,
		started: time.Now(),
		changed: make(chan struct{}, 1),
		gate:    newGate(cfg.Limits),
		broker:  rand.IntN(len(cfg.Brokers)),
	}
	a.reporter = newReporter(a)
	a.work = newExecutor(a, cfg.Logger)
	return a, nil
}

// Run keeps the agent connected until ctx ends, and returns when everything it
// started has ended. Losing a broker is not an error. Sessions are not touched.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer a.reporter.wait()
	defer a.work.wait()
	defer stop()
	_ = a.reporter.look(ctx) // so that the first hello knows the server's health
	pause := newBackoff(a.cfg.Timing.RetryBase)
	for ctx.Err() == nil {
		begun := time.Now()
		err := a.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begun) > a.cfg.Timing.Dial { // it worked for a while
			pause.reset()
		}
		limit := a.cfg.Timing.RetryLimit
		if refused(err) {
			limit = a.cfg.Timing.RefusedLimit
		}
		delay := pause.next(limit)
		a.log.Warn("Not connected to the broker", "broker", a.cfg.Brokers[a.broker], "error", err, "retry_in", delay)
		a.broker = (a.broker + 1) % len(a.cfg.Brokers)
		sleep(ctx, delay)
	}
	return nil
}

// Status is safe for concurrent use.
func (a *Agent) Status() Status {
	s := Status{}
	if ms := a.lastAck.Load(); ms != 0 {
		s.LastAck = time.UnixMilli(ms)
	}
	if l := a.current.Load(); l != nil {
		s.Connected, s.Broker, s.ServerID = true, l.broker, l.serverID
	}
	return s
}

// connect makes one connection and serves it to its end.
func (a *Agent) connect(ctx context.Context) error {
	l, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	if err := a.hello(ctx, l); err != nil {
		return err
	}
	a.current.Store(l)
	defer a.current.Store(nil)
	return l.serve(ctx)
}

// send hands a frame to the present connection. Without one it is dropped: an
// answer is remembered, a report follows the next hello anyway.
func (a *Agent) send(frame *messages.AgentFrame) {
	if l := a.current.Load(); l != nil {
		l.send(frame)
	}
}

// reportSoon asks for a report; it never blocks.
func (a *Agent) reportSoon() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// refusal is a broker's "no" to this agent, as opposed to a broken connection.
type refusal struct{ err error }

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refused(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

func refuse(format string, args ...any) error {
	return refusal{fmt.Errorf("agent: "+format, args...)}
}

// sleep waits for d or the end of ctx and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Report, 30 * time.Second},
		{&t.Debounce, 200 * time.Millisecond},
		{&t.Beat, 4 * time.Second},
		{&t.Dial, 10 * time.Second},
		{&t.Hello, 10 * time.Second},
		{&t.Write, 30 * time.Second},
		{&t.RetryBase, 500 * time.Millisecond},
		{&t.RetryLimit, 4 * time.Second},
		{&t.RefusedLimit, 30 * time.Second},
		{&t.List, 10 * time.Second},
		{&t.Command, 30 * time.Second},
		{&t.Create, 60 * time.Second},
		{&t.Ready, 20 * time.Second},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return t
}
