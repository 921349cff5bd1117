package viewer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fasthttp/websocket"
)

const (
	dialTimeout = 15 * time.Second
	// readTimeout is longer than twice the host's pings.
	readTimeout = 60 * time.Second
	maxMessage  = 16 << 20 // bytes
)

// ErrRefused and ErrEnded carry the host's reason: it did not let us in, or it cut
// the connection later.
var (
	ErrRefused = errors.New("viewer: connection refused")
	ErrEnded   = errors.New("viewer: connection ended by the host")
)

// Viewer is one connection. Next must not be called by two at a time.
type Viewer struct {
	conn    *websocket.Conn
	welcome Event
	stop    func() bool
}

// Connect opens a client URL and returns when the host has accepted, or with an
// ErrRefused. The connection lasts until Close or the end of ctx.
func Connect(ctx context.Context, clientURL string, trust *tls.Config) (*Viewer, error) {
	address, err := ParseURL(clientURL)
	if err != nil {
		return nil, err
	}
	dialer := websocket.Dialer{TLSClientConfig: trust, HandshakeTimeout: dialTimeout}
	conn, response, err := dialer.DialContext(ctx, address.dialURL(), nil)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("%w: status %d", ErrRefused, response.StatusCode)
		}
		return nil, fmt.Errorf("viewer: connect: %w", err)
	}
	conn.SetReadLimit(maxMessage)
	v := &Viewer{conn: conn}
	v.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	conn.SetPingHandler(func(data string) error {
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		return conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	})
	if v.welcome, _, err = v.Next(); err == nil && v.welcome.Type != Welcome {
		err = fmt.Errorf("%w: no welcome", ErrRefused)
	}
	if err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

// Welcome is the host's first event: who we are and what we may do.
func (v *Viewer) Welcome() Event { return v.welcome }

// Next waits for an event or a picture (then the event is empty). An ErrRefused or
// ErrEnded is the last; after Close every call fails.
func (v *Viewer) Next() (Event, []byte, error) {
	if err := v.conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return Event{}, nil, fmt.Errorf("viewer: %w", err)
	}
	kind, message, err := v.conn.ReadMessage()
	if err != nil {
		return Event{}, nil, fmt.Errorf("viewer: connection lost: %w", err)
	}
	if kind == websocket.BinaryMessage {
		return Event{}, message, nil
	}
	var event Event
	if err := json.Unmarshal(message, &event); err != nil {
		return Event{}, nil, fmt.Errorf("viewer: not an event: %w", err)
	}
	switch event.Type {
	case Refused:
		return event, nil, fmt.Errorf("%w: %s", ErrRefused, event.Reason)
	case Ended:
		return event, nil, fmt.Errorf("%w: %s", ErrEnded, event.Reason)
	}
	return event, nil, nil
}

// Refresh asks for a new state and picture.
func (v *Viewer) Refresh() error {
	if err := v.conn.WriteMessage(websocket.TextMessage, []byte("refresh")); err != nil {
		return fmt.Errorf("viewer: %w", err)
	}
	return nil
}

// Close disconnects.
func (v *Viewer) Close() error {
	v.stop()
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = v.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(time.Second))
	if err := v.conn.Close(); err != nil {
		return fmt.Errorf("viewer: close: %w", err)
	}
	return nil
}
