package agentws

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
)

// Codes of the header X-Error-Code.
const (
	codeUnauthorized = "UNAUTHORIZED"
	codeTooMany      = "TOO_MANY_AGENTS"
	codeStopping     = "STOPPING"
	codeElsewhere    = "TRY_ANOTHER_BROKER"
	codeHandshake    = "BAD_HANDSHAKE"
)

// Server holds the agents' sockets of this broker. Its methods may be called concurrently.
type Server struct {
	cfg      Config
	upgrader *websocket.Upgrader
	trail    *audit.Trail
	buffers  sync.Pool    // *bytes.Buffer, for frames on their way in
	frames   sync.Pool    // *[]byte, for frames on their way out
	pending  atomic.Int64 // see Config.MaxPendingBytes

	mu       sync.Mutex
	sockets  map[*socket]struct{}
	stopping bool
	away     bool          // see TurnAway
	empty    chan struct{} // made by Shutdown, closed when the last socket is gone
}

// New returns a Server without sockets.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg:      cfg,
		upgrader: newUpgrader(cfg.WriteTimeout),
		trail:    cfg.Audit,
		sockets:  make(map[*socket]struct{}),
	}, nil
}

func (s *Server) authorize(h *fasthttp.RequestHeader) (agentClientID string, err error) {
	header, err := oauth.HeaderOf(h)
	if err != nil {
		return "", err
	}
	return s.cfg.Authorize(header)
}

// Handler is GET /agent/ws of the agent port. The HTTP server must leave hijacked
// connections to their handler (KeepHijackedConns), as http/listen does.
func (s *Server) Handler() fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		clientID, err := s.authorize(&rc.Request.Header)
		if errors.Is(err, oauth.ErrUnavailable) {
			listen.Fail(rc, fasthttp.StatusServiceUnavailable, messages.CodeNotReady, err.Error())
			rc.Response.Header.Set("Retry-After", strconv.Itoa(1+rand.IntN(10)))
			return
		}
		if err != nil {
			s.trail.Refuse(rc, "agent refused", audit.Event{Act: "attach-agent", Code: codeUnauthorized, Reason: err.Error()})
			listen.Fail(rc, fasthttp.StatusUnauthorized, codeUnauthorized, err.Error())
			rc.Response.Header.Set("WWW-Authenticate", "Bearer")
			return
		}
		if code, text := s.room(); code != "" {
			listen.Fail(rc, fasthttp.StatusServiceUnavailable, code, text)
			rc.Response.Header.Set("Retry-After", strconv.Itoa(1+rand.IntN(10))) // spread the return (F15)
			return
		}
		remote := listen.RemoteText(rc) // rc must not be touched in the new goroutine
		if s.upgrade(rc, func(ws *websocket.Conn) { s.serve(ws, clientID, remote) }) {
			s.trail.Record(rc, audit.Event{Act: "attach-agent", Outcome: audit.Done, Client: clientID})
		}
	}
}

// Count is the number of sockets now.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// ClientIDs are those of the agents that are connected.
func (s *Server) ClientIDs() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[string]bool, len(s.sockets))
	for so := range s.sockets {
		ids[so.clientID] = true
	}
	return ids
}

// Drop closes the sockets of some agent clients with 1008 and reason, and says how many.
func (s *Server) Drop(clientIDs map[string]bool, reason string) int {
	s.mu.Lock()
	var dropped []*socket
	for so := range s.sockets {
		if clientIDs[so.clientID] {
			dropped = append(dropped, so)
		}
	}
	s.mu.Unlock()
	for _, so := range dropped {
		so.Close(ClosePolicy, reason)
	}
	return len(dropped)
}

// TurnAway closes every socket with 1013 and reason and refuses new ones with 503 until
// Welcome: what agents say here reaches nobody, another broker may serve them.
func (s *Server) TurnAway(reason string) {
	for _, so := range s.turn(true) {
		so.Close(CloseTryLater, reason)
	}
}

// Welcome ends TurnAway.
func (s *Server) Welcome() { s.turn(false) }

func (s *Server) turn(away bool) []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	return s.open()
}

// open lists the sockets. Under mu.
func (s *Server) open() []*socket {
	open := make([]*socket, 0, len(s.sockets))
	for so := range s.sockets {
		open = append(open, so)
	}
	return open
}

// Shutdown closes every socket with 1001 and reason and refuses new ones. It
// returns when all links know, or with ctx's error after cutting off the rest.
func (s *Server) Shutdown(ctx context.Context, reason string) error {
	open, empty := s.stop()
	for _, so := range open {
		so.Close(CloseGoingAway, reason)
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	for _, so := range open {
		so.kill(reason)
	}
	return fmt.Errorf("agentws: close sockets: %w", ctx.Err())
}

func (s *Server) stop() ([]*socket, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping, s.empty = true, make(chan struct{})
		if len(s.sockets) == 0 {
			close(s.empty)
		}
	}
	return s.open(), s.empty
}

// room says why there is none, as an error code and text, or nothing.
func (s *Server) room() (code, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return codeStopping, "The broker is stopping"
	case s.away:
		return codeElsewhere, "The broker is out of contact with the fleet"
	case len(s.sockets) >= s.cfg.MaxSockets:
		return codeTooMany, "The broker has as many agents as it may"
	}
	return "", ""
}

// add counts a socket in. It is asked only when the socket exists: a client that
// leaves during the handshake never gets that far and must not take a place.
func (s *Server) add(so *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.away || len(s.sockets) >= s.cfg.MaxSockets {
		return false
	}
	s.sockets[so] = struct{}{}
	return true
}

func (s *Server) remove(so *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sockets[so]; !ok {
		return
	}
	delete(s.sockets, so)
	if s.stopping && len(s.sockets) == 0 {
		close(s.empty)
	}
}
