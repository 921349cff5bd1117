package listen

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxied is the connection as it shall be read: one of a trusted proxy begins with a
// PROXY protocol header, anybody else's must not, and fails where it does, since the
// header is neither TLS nor HTTP. The header is read by whoever reads the connection,
// never by the accept loop, and within timeout.
func (p Proxies) proxied(inner net.Conn, timeout time.Duration) net.Conn {
	if !p.Protocol || !p.trusts(addrPort(inner.RemoteAddr()).Addr()) {
		return inner
	}
	return proxyproto.NewConn(inner, proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(timeout), proxyproto.ValidateHeader(onlyTCP))
}

// errFamily: a header names something else than a TCP connection.
var errFamily = errors.New("listen: the PROXY protocol header names no TCP connection")

// onlyTCP refuses what the broker could not name in a log or throttle.
func onlyTCP(h *proxyproto.Header) error {
	if h.Command.IsLocal() { // the proxy for itself, as in a health check
		return nil
	}
	if _, ok := h.SourceAddr.(*net.TCPAddr); !ok {
		return errFamily
	}
	return nil
}

// socket is the connection below a PROXY protocol header.
func socket(c net.Conn) net.Conn {
	if p, ok := c.(*proxyproto.Conn); ok {
		return p.Raw()
	}
	return c
}

// explain tells the operator, at most once a minute, that a proxy and this port do not
// agree on the PROXY protocol: nothing works then, and the client sees only an end.
func (g *guard) explain(c net.Conn, err error) {
	var record tls.RecordHeaderError
	switch {
	case err == nil:
	case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		g.disagree("a trusted proxy sent no PROXY protocol header", c)
	case errors.As(err, &record) && startsHeader(record.RecordHeader):
		g.disagree("a PROXY protocol header was sent by a peer from whom this port takes none", c)
	}
}

func startsHeader(start [5]byte) bool {
	return string(start[:]) == "PROXY" || string(start[:]) == string(proxyproto.SIGV2[:5])
}

func (g *guard) disagree(text string, c net.Conn) {
	g.mu.Lock()
	now := time.Now()
	quiet := now.Sub(g.disagreed) < alarmEvery
	if !quiet {
		g.disagreed = now
	}
	g.mu.Unlock()
	if !quiet {
		g.logger.Warn(text, slog.String("peer", socket(c).RemoteAddr().String()))
	}
}
