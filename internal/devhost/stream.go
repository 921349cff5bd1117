package devhost

import (
	"context"
	"net/http"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"opensessionmanager/internal/devhost/screen"
	"opensessionmanager/internal/devhost/viewer"
)

const (
	verifyTimeout = 15 * time.Second
	writeTimeout  = 10 * time.Second
	pingInterval  = 15 * time.Second
	silence       = 45 * time.Second // three missed pings
	maxInput      = 4 << 10          // bytes of a client's message
	streamWidth   = 1280             // pixels of the pictures sent
	streamHeight  = 800
	// connecting stands for a client's connection where faults name a command.
	connecting = "connect"
	// A client's wishes are heard this often, in pictures a second.
	pictureRate, pictureBurst = 4, 4
)

// The application's close codes.
const (
	closeRefused = 4001
	closeEnded   = 4002
)

// serveConnect is the client's WebSocket. It is opened first and judged then,
// since only so a page in a browser learns the reason of a refusal.
func (h *Host) serveConnect(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	up := h.up
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.tasks.Add(1)
	h.mu.Unlock()
	defer h.tasks.Done()

	v := visitor{
		sessionID: r.URL.Query().Get("sessionId"), token: r.URL.Query().Get("authToken"),
		address: r.RemoteAddr, userAgent: r.UserAgent(),
	}
	upgrader := websocket.Upgrader{HandshakeTimeout: writeTimeout}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the answer has been sent
	}
	defer socket.Close()
	socket.SetReadLimit(maxInput)
	c, err := h.judge(up, v)
	if err != nil {
		h.log.Info("client refused", "session", clip(v.sessionID, maxID), "error", err)
		goodbye(socket, viewer.Event{Type: viewer.Refused, Reason: err.Error()}, closeRefused)
		return
	}
	defer h.leave(c)
	h.converse(up, socket, c)
}

func (h *Host) judge(up context.Context, v visitor) (*client, error) {
	if _, err := h.delay(up, connecting); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(up, verifyTimeout)
	defer cancel()
	user, err := h.authenticate(ctx, v)
	if err != nil {
		return nil, err
	}
	return h.admit(v, user)
}

// converse shows the session until one side has enough.
func (h *Host) converse(up context.Context, socket *websocket.Conn, c *client) {
	h.tasks.Go(func() { h.listen(socket, c) })
	if !send(socket, h.event(viewer.Welcome, c)) {
		return
	}
	pings := time.NewTicker(pingInterval)
	defer pings.Stop()
	limit := rate.NewLimiter(pictureRate, pictureBurst)
	c.poke()
	for {
		select {
		case <-c.gone:
			if c.reason != "" {
				goodbye(socket, viewer.Event{Type: viewer.Ended, Reason: c.reason}, closeEnded)
			}
			return
		case <-pings.C:
			if socket.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout)) != nil {
				return
			}
		case <-c.changed:
			if limit.Wait(up) == nil && !h.show(socket, c) {
				return
			}
		}
	}
}

// listen takes the client's messages, each of which asks for a new picture, and
// ends the client when the socket does.
func (h *Host) listen(socket *websocket.Conn, c *client) {
	defer c.end("")
	alive := func(string) error { return socket.SetReadDeadline(time.Now().Add(silence)) }
	socket.SetPongHandler(alive)
	for alive("") == nil {
		if _, _, err := socket.ReadMessage(); err != nil {
			return
		}
		h.mu.Lock()
		c.lastInput = h.cfg.Now()
		h.mu.Unlock()
		c.poke()
	}
}

// show sends the state and, if the client may see it, the screen.
func (h *Host) show(socket *websocket.Conn, c *client) bool {
	if !send(socket, h.event(viewer.State, c)) {
		return false
	}
	h.mu.Lock()
	mayLook := c.features["display"]
	h.mu.Unlock()
	if !mayLook {
		return true
	}
	picture, err := h.picture(c.session.ID, false, streamWidth, streamHeight, screen.JPEG)
	if err != nil { // the session is gone, and so will be the client
		return true
	}
	_ = socket.SetWriteDeadline(time.Now().Add(writeTimeout))
	if socket.WriteMessage(websocket.BinaryMessage, picture) != nil {
		return false
	}
	h.mu.Lock()
	if c.firstFrame.IsZero() {
		c.firstFrame = h.cfg.Now()
	}
	h.mu.Unlock()
	return true
}

func send(socket *websocket.Conn, e viewer.Event) bool {
	return socket.SetWriteDeadline(time.Now().Add(writeTimeout)) == nil && socket.WriteJSON(e) == nil
}

// goodbye sends a last event and closes.
func goodbye(socket *websocket.Conn, e viewer.Event, code int) {
	if send(socket, e) {
		_ = socket.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
	}
}
