package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Stats are the counters of one port.
type Stats struct {
	Open         int   // connections open now
	Accepted     int64 // connections taken
	Refused      int64 // connections closed at once because MaxConns was reached
	AcceptErrors int64 // failed accepts: out of file descriptors, mostly
	BodyBytes    int64 // held now for request bodies; see Config.MaxBodiesBytes
}

const (
	firstPause = 5 * time.Millisecond
	longPause  = time.Second
	alarmEvery = time.Minute
)

// guard is the listener under the HTTP server. Accept returns an error only
// after Close: the server above would take any other as its end (F24).
type guard struct {
	net.Listener
	logger  *slog.Logger
	limit   int
	pace    *rate.Limiter
	proxies Proxies
	header  time.Duration   // bounds a PROXY protocol header
	life    context.Context // ends at Close
	end     context.CancelFunc
	alarmed time.Time // last alarm about failed accepts; accept loop only

	mu        sync.Mutex
	conns     map[*conn]struct{}
	disagreed time.Time // last warning of explain

	accepted, refused, failed atomic.Int64
}

func newGuard(inner net.Listener, cfg Config) *guard {
	g := &guard{
		Listener: inner,
		logger:   cfg.Logger,
		limit:    cfg.MaxConns,
		proxies:  cfg.Proxies,
		header:   cfg.HeaderTimeout,
		pace:     rate.NewLimiter(rate.Limit(cfg.AcceptsPerSecond), cfg.AcceptsPerSecond),
		conns:    make(map[*conn]struct{}),
	}
	g.life, g.end = context.WithCancel(context.Background())
	return g
}

// Accept waits for a connection within the limits.
func (g *guard) Accept() (net.Conn, error) {
	pause := firstPause
	for {
		if g.pace.Wait(g.life) != nil {
			return nil, net.ErrClosed
		}
		inner, err := g.Listener.Accept()
		switch {
		case err == nil:
			if c, ok := g.admit(inner); ok {
				return c, nil
			}
			_ = inner.Close()
		case errors.Is(err, net.ErrClosed) || g.life.Err() != nil:
			return nil, net.ErrClosed
		default:
			g.alarm(err)
			g.wait(pause)
			pause = min(2*pause, longPause)
		}
	}
}

// Close stops accepting. Connections live on.
func (g *guard) Close() error {
	g.end()
	return g.Listener.Close()
}

func (g *guard) admit(inner net.Conn) (*conn, bool) {
	c := &conn{Conn: g.proxies.proxied(inner, g.header), guard: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.limit {
		g.refused.Add(1)
		return nil, false
	}
	g.conns[c] = struct{}{}
	g.accepted.Add(1)
	return c, true
}

// alarm reports failed accepts, once a minute while they last.
func (g *guard) alarm(err error) {
	g.failed.Add(1)
	if now := time.Now(); now.Sub(g.alarmed) >= alarmEvery {
		g.alarmed = now
		g.logger.Error("cannot accept connections, trying on", slog.Any("error", err))
	}
}

func (g *guard) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.life.Done():
	}
}

func (g *guard) closeConns() {
	g.mu.Lock()
	left := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		left = append(left, c)
	}
	g.mu.Unlock()
	for _, c := range left {
		_ = c.cut()
	}
}

func (g *guard) stats() Stats {
	g.mu.Lock()
	open := len(g.conns)
	g.mu.Unlock()
	return Stats{Open: open, Accepted: g.accepted.Load(), Refused: g.refused.Load(), AcceptErrors: g.failed.Load()}
}

// conn leaves the guard's set when it is closed, however often that happens.
type conn struct {
	net.Conn
	guard  *guard
	unread atomic.Bool // see abandon
	end
}

// Read notes the end.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.note(c.Conn.Read(p))
	c.guard.explain(c.Conn, err)
	return n, err
}

// Close lets a client that is still sending see the answer first.
func (c *conn) Close() error {
	if c.unread.CompareAndSwap(true, false) {
		c.linger()
	}
	return c.cut()
}

func (c *conn) cut() error {
	c.guard.mu.Lock()
	delete(c.guard.conns, c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}
