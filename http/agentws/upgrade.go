package agentws

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
)

// Sizes of the buffers of a socket. Large frames bypass both.
const (
	readBuffer  = 512
	writeBuffer = 2048
)

// The WebSocket library's own way to upgrade a fasthttp request leaves the
// server's read buffer and the request's memory with the socket, 4 to 20 KiB for
// as long as it lives. So the socket is made on the bare connection, through the
// library's net/http door, and fasthttp is told to forget about it. An agent
// that sends before it has the answer, which RFC 6455 forbids, loses those bytes.

func newUpgrader(timeout time.Duration) *websocket.Upgrader {
	return &websocket.Upgrader{
		HandshakeTimeout: timeout,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  &sync.Pool{},
		Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) {
			rc := w.(*door).rc
			listen.Fail(rc, status, codeHandshake, "Not a WebSocket handshake for this host")
			rc.Response.Header.Set("Sec-Websocket-Version", "13")
		},
	}
}

// upgrade answers the handshake and hands the socket to serve, or answers why not.
func (s *Server) upgrade(rc *fasthttp.RequestCtx, serve func(*websocket.Conn)) bool {
	ws, err := s.upgrader.Upgrade(&door{rc: rc}, handshake(rc), nil)
	if err != nil {
		return false // the upgrader has answered
	}
	rc.HijackSetNoResponse(true)
	rc.Hijack(func(net.Conn) { go serve(ws) })
	return true
}

// handshake shows the upgrader what it looks at.
func handshake(rc *fasthttp.RequestCtx) *http.Request {
	r := &http.Request{Method: string(rc.Method()), Host: string(rc.Host()), Header: http.Header{}}
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key", "Origin"} {
		for _, value := range rc.Request.Header.PeekAll(name) {
			r.Header.Add(name, string(value))
		}
	}
	return r
}

// door is the way to the bare connection of a request.
type door struct{ rc *fasthttp.RequestCtx }

// Hijack implements http.Hijacker. Nothing is buffered on either side.
func (d *door) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn := d.rc.Conn()
	return conn, bufio.NewReadWriter(bufio.NewReaderSize(conn, 16), bufio.NewWriterSize(conn, 16)), nil
}

// Header implements http.ResponseWriter; what is set there goes nowhere.
func (d *door) Header() http.Header { return http.Header{} }

// Write implements http.ResponseWriter. The upgrader reports through Error instead.
func (d *door) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (d *door) WriteHeader(int) {}
