package agentws

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"
)

// socket is one agent's connection: its state, and how it ends. read.go and
// write.go hold the two pumps.
type socket struct {
	server   *Server
	ws       *websocket.Conn
	remote   string
	clientID string
	logger   *slog.Logger
	pace     *rate.Limiter
	began    time.Time
	heard    atomic.Int64  // time since began when the agent was last heard
	gone     chan struct{} // closed by kill

	// Of the read pump alone.
	greeted   bool // the first frame has come
	receiving bool // in the middle of a frame

	mu        sync.Mutex
	queue     []*[]byte // encoded frames
	queued    int       // their bytes
	writing   bool      // the write pump exists
	ping      bool      // a ping is due
	pong      *string   // payload of a pong that is due
	closing   *closing  // no frame goes out or counts any more once this is set
	closeSent bool
	dead      bool
	reason    string // why it ends, the first that is known
	beat      *time.Timer
}

type closing struct {
	code   int
	reason string
}

// serve runs a socket from its upgrade to its end.
func (s *Server) serve(ws *websocket.Conn, clientID, remote string) {
	so := s.newSocket(ws, clientID, remote)
	defer func() { _ = ws.Close() }()
	if !s.add(so) {
		deadline := time.Now().Add(s.cfg.CloseTimeout)
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(CloseTryLater, "no room"), deadline)
		return
	}
	defer s.remove(so)
	so.logger.Info("agent connected")
	link := s.attach(so, clientID)
	reason := so.read(link)
	so.kill(reason)
	so.guarded("closed", func() { link.Closed(reason) })
	so.logger.Info("agent disconnected", slog.String("reason", reason), slog.Duration("after", time.Since(so.began)))
}

func (s *Server) newSocket(ws *websocket.Conn, clientID, remote string) *socket {
	so := &socket{
		server:   s,
		ws:       ws,
		remote:   remote,
		clientID: clientID,
		logger:   s.cfg.Logger.With(slog.String("remote", remote), slog.String("agent-client", clientID)),
		pace:     rate.NewLimiter(rate.Limit(s.cfg.FramesPerSecond), s.cfg.FramesPerSecond),
		began:    time.Now(),
		gone:     make(chan struct{}),
	}
	ws.SetPingHandler(so.onPing)
	ws.SetPongHandler(func(string) error { so.hear(); return nil })
	so.mu.Lock()
	defer so.mu.Unlock()
	so.beat = time.AfterFunc(rand.N(s.cfg.PingInterval), so.onBeat) // spread over the interval
	return so
}

// attach returns the link, or one that does nothing on a socket that is closing.
func (s *Server) attach(so *socket, clientID string) (link Link) {
	link = deaf{}
	so.guarded("attach", func() {
		made, err := s.cfg.Attacher.Attach(so, clientID)
		if err != nil {
			so.logger.Warn("agent cannot be attached", slog.Any("error", err))
			so.Close(CloseTryLater, "cannot be attached now")
			return
		}
		link = made
	})
	return link
}

type deaf struct{ Link }

func (deaf) Closed(string) {}

// guarded runs code of the link. A panic of it costs this socket, no other (F25).
func (so *socket) guarded(what string, do func()) {
	defer func() {
		if reason := recover(); reason != nil {
			so.logger.Error("agent link panicked", slog.String("in", what), slog.Any("panic", reason), stack())
			so.Close(CloseInternal, "internal error")
		}
	}()
	do()
}

// Close implements Conn.
func (so *socket) Close(code int, reason string) {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closing != nil || so.dead {
		return
	}
	so.closing = &closing{code, clip(reason)}
	so.because("closed by the broker: " + reason)
	so.kick()
}

// RemoteAddr implements Conn.
func (so *socket) RemoteAddr() string { return so.remote }

// kill ends both pumps. It does not close: over TLS that may block, so the read
// pump does it on its way out.
func (so *socket) kill(reason string) {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.dead {
		return
	}
	so.dead = true
	so.because(reason)
	so.queue, so.queued = nil, 0
	so.beat.Stop()
	close(so.gone)
	_ = so.ws.NetConn().SetDeadline(time.Unix(1, 0))
}

// because keeps the first reason. Under mu.
func (so *socket) because(reason string) {
	if so.reason == "" {
		so.reason = reason
	}
}

// hear notes a sign of life and lets the next take three intervals. A frame has
// its own deadline, and so has the first: signs of life do not extend those.
func (so *socket) hear() {
	so.heard.Store(int64(time.Since(so.began)))
	if so.greeted && !so.receiving {
		so.allow(missedBeats * so.server.cfg.PingInterval)
	}
}

// allow sets how long reading may take from now, unless the end is near already.
func (so *socket) allow(d time.Duration) {
	so.mu.Lock()
	defer so.mu.Unlock()
	if !so.dead && !so.closeSent {
		_ = so.ws.SetReadDeadline(time.Now().Add(d))
	}
}

// onBeat asks a silent agent for a sign of life.
func (so *socket) onBeat() {
	interval := so.server.cfg.PingInterval
	silent := time.Since(so.began) - time.Duration(so.heard.Load())
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.dead || so.closing != nil {
		return
	}
	if silent >= interval {
		so.ping = true
		so.kick()
	}
	so.beat.Reset(interval)
}

// onPing answers through the write pump: an agent that does not read must not
// stop us from reading. Of several unanswered pings the last is answered (RFC 6455 5.5.3).
func (so *socket) onPing(payload string) error {
	so.hear()
	so.mu.Lock()
	defer so.mu.Unlock()
	so.pong = &payload
	so.kick()
	return nil
}
