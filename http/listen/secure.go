package listen

import (
	"crypto/tls"
	"io"
	"net"
)

// end remembers that a client said it sends no more. The HTTP library takes that for
// the end of a chunked body, which then is shorter than what was meant.
type end struct{ seen bool }

func (e *end) note(n int, err error) (int, error) {
	if n == 0 && err == io.EOF {
		e.seen = true
	}
	return n, err
}

func (e *end) ended() bool { return e.seen }

// secure is a connection with TLS.
type secure struct {
	*tls.Conn
	end
}

// Read notes the end.
func (s *secure) Read(p []byte) (int, error) {
	n, err := s.note(s.Conn.Read(p))
	if own := underlying(s); own != nil && err != nil {
		own.guard.explain(own.Conn, err)
	}
	return n, err
}

// secureListener speaks TLS on the connections of a guard.
type secureListener struct {
	net.Listener
	config *tls.Config
}

// Accept returns before the handshake, which the connection's first Read makes.
func (l secureListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &secure{Conn: tls.Server(inner, l.config)}, nil
}
