package agentws

import (
	"errors"
	"log/slog"
	"time"

	"opensessionmanager/http/audit"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// Conn is one agent's socket. Its methods may be called concurrently and never block.
type Conn interface {
	// Send queues a frame, which it has encoded when it returns. ErrClosed, or
	// ErrQueueFull, after which the socket closes, or that the frame cannot be sent.
	Send(frame *messages.AgentFrame) error
	// Close sends what is queued, then a close frame with a code of RFC 6455 and a
	// reason of at most 123 bytes. Later calls do nothing.
	Close(code int, reason string)
	// RemoteAddr is the agent's address, or that of a balancer before it.
	RemoteAddr() string
}

// Link is what stands behind a socket. One goroutine calls it, in order.
type Link interface {
	// Received takes a frame. While it runs nothing more is read.
	Received(frame *messages.AgentFrame)
	// Closed ends the link: it is called once, last.
	Closed(reason string)
}

// Attacher makes the link of a new socket. With an error the socket is closed
// with 1013 (try again later) and the error's text stays in the log.
type Attacher interface {
	Attach(conn Conn, agentClientID string) (Link, error)
}

// Close codes of RFC 6455 section 7.4 and the IANA registry.
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseUnsupported = 1003 // not a text frame
	CloseInvalid     = 1007 // not the protocol's JSON
	ClosePolicy      = 1008 // too complex, or refused
	CloseInternal    = 1011
	CloseTryLater    = 1013
)

// Errors of Send and New.
var (
	ErrClosed    = errors.New("agentws: socket is closed")
	ErrQueueFull = errors.New("agentws: outgoing queue is full")
	ErrTooLarge  = errors.New("agentws: frame is too large")
	ErrConfig    = errors.New("agentws: incomplete configuration")
)

// Config describes a Server. Zero limits take the defaults named here.
type Config struct {
	// Authorize checks the Authorization header and says which agent client it is.
	Authorize func(header []byte) (agentClientID string, err error)
	Attacher  Attacher
	Logger    *slog.Logger
	// Audit is told who attaches and who is refused; nil: there is only the log.
	Audit *audit.Trail

	// MaxSockets: 12,000. Beyond it agents get 503.
	MaxSockets int
	// MaxFrameBytes bounds a frame either way: agentproto.MaxFrameBytes.
	MaxFrameBytes int
	// MaxPendingBytes bounds what all sockets together keep of frames being
	// received, beyond 64 KiB each: 256 MiB. A socket that hits it is closed with 1013.
	MaxPendingBytes int64
	// FramesPerSecond bounds what one agent may send, with a burst of as many:
	// 1,000. A faster one is read more slowly.
	FramesPerSecond int
	// QueueFrames and QueueBytes bound what waits for an agent: 256, and twice MaxFrameBytes.
	QueueFrames int
	QueueBytes  int
	// PingInterval is the silence after which an agent is pinged: 4 s. After
	// three of them it counts as gone.
	PingInterval time.Duration
	// HelloTimeout bounds the wait for the first frame: 10 s.
	HelloTimeout time.Duration
	// FrameTimeout bounds receiving one frame from its first byte: 30 s.
	FrameTimeout time.Duration
	// WriteTimeout bounds sending one: 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds the wait for the agent's answer to a close frame: 2 s.
	CloseTimeout time.Duration
}

// missedBeats is how many silent intervals end a socket.
const missedBeats = 3

func (c Config) withDefaults() (Config, error) {
	if c.Authorize == nil || c.Attacher == nil || c.Logger == nil {
		return c, ErrConfig
	}
	if c.Audit == nil {
		c.Audit = audit.New(nil, c.Logger)
	}
	orInt(&c.MaxSockets, 12_000)
	orInt(&c.MaxFrameBytes, agentproto.MaxFrameBytes)
	orInt(&c.MaxPendingBytes, 256<<20)
	orInt(&c.FramesPerSecond, 1000)
	orInt(&c.QueueFrames, 256)
	orInt(&c.QueueBytes, 2*c.MaxFrameBytes)
	orInt(&c.PingInterval, 4*time.Second)
	orInt(&c.HelloTimeout, 10*time.Second)
	orInt(&c.FrameTimeout, 30*time.Second)
	orInt(&c.WriteTimeout, 10*time.Second)
	orInt(&c.CloseTimeout, 2*time.Second)
	return c, nil
}

func orInt[T int | int64 | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}
