package devhost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"opensessionmanager/internal/devhost/control"
	"opensessionmanager/internal/devhost/verifier"
	"opensessionmanager/internal/devhost/viewer"
)

const maxUserAgent = 256 // bytes

// client is one connection to a session. The host's lock guards the upper half.
type client struct {
	features   map[string]bool
	lastInput  time.Time
	firstFrame time.Time

	id        int
	user      string
	address   string // "ip:port"
	userAgent string
	connected time.Time
	session   *session
	changed   chan struct{} // there may be something new to show
	gone      chan struct{} // closed by end
	once      sync.Once
	reason    string // why it ended; set before gone is closed
}

// end cuts a client; the first reason counts.
func (c *client) end(reason string) {
	c.once.Do(func() {
		c.reason = reason
		close(c.gone)
	})
}

// poke says that there may be something new to show.
func (c *client) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// visitor is somebody who asks to be connected.
type visitor struct {
	sessionID, token, address, userAgent string
}

// authenticate finds out who a visitor is, as the verifier says.
func (h *Host) authenticate(ctx context.Context, v visitor) (string, error) {
	if h.verifier == nil {
		return "", errors.New("this host has no auth-token-verifier")
	}
	address, _, err := net.SplitHostPort(v.address)
	if err != nil {
		address = v.address
	}
	user, err := h.verifier.Check(ctx, v.sessionID, v.token, address)
	if err == nil {
		return user, nil
	}
	if no, ok := errors.AsType[verifier.Refusal](err); ok {
		return "", fmt.Errorf("authentication failed: %s", no.Message)
	}
	h.log.Warn("verifier failed", "session", clip(v.sessionID, maxID), "error", err)
	return "", errors.New("authentication failed: the auth-token-verifier gave no usable answer")
}

// admit counts a visitor as a client of the session, if that is allowed.
func (h *Host) admit(v visitor, user string) (*client, error) {
	if f, struck := h.take(control.Reject, ""); struck {
		return nil, errors.New(f.Message)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[v.sessionID]
	if !ok {
		return nil, errNoSession(v.sessionID)
	}
	features := s.permissions.Allowed(user, s.Owner)
	total := 0
	for _, other := range h.sessions {
		total += len(other.clients)
	}
	switch {
	case h.closed || h.up.Err() != nil:
		return nil, errNotRunning
	case len(features) == 0:
		return nil, fmt.Errorf("user %q has no permission to use this session", user)
	case s.MaxClients > 0 && len(s.clients) >= s.MaxClients:
		return nil, fmt.Errorf("the session has its maximum number of clients (%d)", s.MaxClients)
	case total >= MaxClients:
		return nil, fmt.Errorf("the host has its maximum number of clients (%d)", MaxClients)
	}
	h.lastConnection++
	now := h.cfg.Now()
	c := &client{
		features: features, lastInput: now, id: h.lastConnection, user: user, address: v.address,
		userAgent: clip(v.userAgent, maxUserAgent), connected: now, session: s,
		changed: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	s.clients[c.id] = c
	s.announce()
	h.log.Info("client connected", "session", s.ID, "user", user, "connection", c.id)
	return c, nil
}

func clip(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// leave takes a client off the books.
func (h *Host) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := c.session
	delete(s.clients, c.id)
	s.LastDisconnected = h.cfg.Now().UTC()
	s.announce()
	h.log.Info("client disconnected", "session", s.ID, "user", c.user, "connection", c.id)
	if err := h.save(); err != nil {
		h.log.Error("sessions not saved", "error", err)
	}
}

// event describes the session to one of its clients.
func (h *Host) event(kind string, c *client) viewer.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := c.session
	return viewer.Event{
		Type: kind, Session: s.ID, Name: s.Name, Owner: s.Owner, Kind: s.Type, Host: h.info.Name, User: c.user,
		Connection: c.id, Connections: len(s.clients), Users: s.users(), Features: slices.Sorted(maps.Keys(c.features)),
	}
}

// listConnections is `dcv list-connections`; without a session it lists all.
func (h *Host) listConnections(id string) (control.Answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sessions := h.sessionsInOrder()
	if id != "" {
		s, ok := h.sessions[id]
		if !ok {
			return control.Answer{}, errNoSession(id)
		}
		sessions = []*session{s}
	}
	var all []control.Connection
	for _, s := range sessions {
		for _, number := range slices.Sorted(maps.Keys(s.clients)) {
			all = append(all, s.clients[number].view())
		}
	}
	return control.Answer{Connections: all}, nil
}

func (c *client) view() control.Connection {
	return control.Connection{
		ID: c.id, Username: c.user, UserAgent: c.userAgent, ClientMode: "web", ClientAddress: c.address,
		ConnectionTime: stamp(c.connected), LastInteractionTime: stamp(c.lastInput), FirstFrameTime: stamp(c.firstFrame),
		Transport: "websocket",
	}
}

func (h *Host) closeConnection(id string, number int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[id]
	if !ok {
		return errNoSession(id)
	}
	c, ok := s.clients[number]
	if !ok {
		return fmt.Errorf("connection %d was not found", number)
	}
	c.end("The connection has been closed by an administrator.")
	return nil
}
