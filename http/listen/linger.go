package listen

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// A connection that is closed while bytes of its client wait unread is reset, and the
// client never sees the answer that was sent before. So what such a client still sends
// is read and dropped for a while, without deciphering it.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 32 << 20
)

// abandon ends the connection of a request that was answered although not all of it was
// read: the answer goes out first, and the client gets a chance to see it.
func abandon(rc *fasthttp.RequestCtx) {
	rc.SetConnectionClose()
	if c := underlying(rc.Conn()); c != nil {
		c.unread.Store(true)
	}
}

func underlying(c net.Conn) *conn {
	if s, ok := c.(*secure); ok {
		c = s.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// linger says that nothing more comes and waits until the client says the same,
// lingerTime or lingerBytes are over, or the port closes.
func (c *conn) linger() {
	half, ok := socket(c.Conn).(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	stop := context.AfterFunc(c.guard.life, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
}
