package listen

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"
)

// Config describes one port. Zero limits take the defaults named here.
type Config struct {
	// Name says in logs which port this is, as "client".
	Name string
	// Addr is host:port; port 0 takes a free one.
	Addr string
	// TLS is nil only for a port without TLS. It is cloned; TLS 1.2 and
	// HTTP/1.1 are enforced whatever it says.
	TLS *tls.Config
	// Handler serves every request. It may hijack; what it hijacks it must close.
	Handler fasthttp.RequestHandler
	Logger  *slog.Logger

	// Admit says, from the header alone, what may be read of the body that a request
	// announces; it is asked before a byte is read, and may be asked twice. Nil
	// admits every body, as Anonymous.
	Admit func(*fasthttp.RequestHeader) Admission

	// Proxies are the peers who speak for others: none.
	Proxies Proxies

	// MaxBodyBytes bounds a request body: 4 MiB. Beyond it: 413.
	MaxBodyBytes int
	// MaxBodiesBytes bounds all request bodies that are being received or worked on
	// together, as far as each is longer than 8 KiB: 256 MiB. Beyond it: 503.
	MaxBodiesBytes int64
	// HeaderBytes bounds the request line and headers together, and is the size
	// of a read buffer that lives as long as a hijacked connection: 16 KiB. Beyond it: 431.
	HeaderBytes int
	// HeaderTimeout bounds the TLS handshake and, from the first byte, the header: 10 s.
	HeaderTimeout time.Duration
	// ReadTimeout bounds the body, from the end of the header: 30 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds sending a response: 30 s.
	WriteTimeout time.Duration
	// IdleTimeout bounds the wait for the next request of a connection: 75 s.
	IdleTimeout time.Duration
	// DrainTime is how long Shutdown goes on answering on connections that are open, with
	// the word that each is the last answer there: 0. A client that keeps connections
	// does not have its next request meet a closing one then.
	DrainTime time.Duration
	// MaxConns bounds open connections, hijacked ones included: 20,000. One
	// above it is closed at once, before any TLS work.
	MaxConns int
	// AcceptsPerSecond bounds new connections; others wait in the kernel's
	// queue: 1,000. A burst of as many is let through.
	AcceptsPerSecond int
}

// ErrConfig: the configuration lacks something that has no default.
var ErrConfig = errors.New("listen: invalid configuration")

func (c Config) withDefaults() (Config, error) {
	if c.Addr == "" || c.Handler == nil || c.Logger == nil {
		return c, ErrConfig
	}
	orInt := func(v *int, fallback int) {
		if *v <= 0 {
			*v = fallback
		}
	}
	orTime := func(v *time.Duration, fallback time.Duration) {
		if *v <= 0 {
			*v = fallback
		}
	}
	orInt(&c.MaxBodyBytes, 4<<20)
	orInt(&c.HeaderBytes, 16<<10)
	if c.MaxBodiesBytes <= 0 {
		c.MaxBodiesBytes = 256 << 20
	}
	orInt(&c.MaxConns, 20_000)
	orInt(&c.AcceptsPerSecond, 1000)
	orTime(&c.HeaderTimeout, 10*time.Second)
	orTime(&c.ReadTimeout, 30*time.Second)
	orTime(&c.WriteTimeout, 30*time.Second)
	orTime(&c.IdleTimeout, 75*time.Second)
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.MinVersion = max(c.TLS.MinVersion, tls.VersionTLS12)
		c.TLS.NextProtos = []string{"http/1.1"}
	}
	return c, nil
}
