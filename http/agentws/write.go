package agentws

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fasthttp/websocket"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// keepBuffer is the largest buffer, in bytes, that is used again.
const keepBuffer = 64 << 10

// job is one thing to write. frame is set for text.
type job struct {
	kind    int
	payload []byte
	frame   *[]byte
}

// Send implements Conn.
func (so *socket) Send(frame *messages.AgentFrame) error {
	buffer := so.server.frame()
	text, err := agentproto.Append((*buffer)[:0], frame)
	if err != nil {
		return err
	}
	*buffer = text
	if len(text) > so.server.cfg.MaxFrameBytes {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLarge, agentproto.Name(frame), len(text), so.server.cfg.MaxFrameBytes)
	}
	err = so.enqueue(buffer)
	if err == ErrQueueFull {
		so.kill("it does not read what it is sent")
	}
	return err
}

func (so *socket) enqueue(buffer *[]byte) error {
	cfg := &so.server.cfg
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.dead || so.closing != nil {
		return ErrClosed
	}
	if len(so.queue) >= cfg.QueueFrames || so.queued+len(*buffer) > cfg.QueueBytes {
		return ErrQueueFull
	}
	so.queue = append(so.queue, buffer)
	so.queued += len(*buffer)
	so.kick()
	return nil
}

// kick makes sure that somebody writes. Under mu.
func (so *socket) kick() {
	if !so.writing && !so.dead {
		so.writing = true
		go so.write()
	}
}

// write is the write pump: it lives while there is something to write.
func (so *socket) write() {
	for {
		j, ok := so.next()
		if !ok {
			return
		}
		if err := so.put(j); err != nil {
			so.kill("cannot be written to")
		}
	}
}

// next takes what is due, life signs first. False: nothing is, and the pump ends.
func (so *socket) next() (job, bool) {
	so.mu.Lock()
	defer so.mu.Unlock()
	switch {
	case so.dead || so.closeSent:
	case so.pong != nil:
		j := job{kind: websocket.PongMessage, payload: []byte(*so.pong)}
		so.pong = nil
		return j, true
	case so.ping:
		so.ping = false
		return job{kind: websocket.PingMessage}, true
	case len(so.queue) > 0:
		first := so.queue[0]
		so.queue[0] = nil
		so.queue = so.queue[1:]
		so.queued -= len(*first)
		if len(so.queue) == 0 {
			so.queue = nil
		}
		return job{kind: websocket.TextMessage, frame: first}, true
	case so.closing != nil:
		so.closeSent = true
		return job{kind: websocket.CloseMessage, payload: websocket.FormatCloseMessage(so.closing.code, so.closing.reason)}, true
	}
	so.writing = false
	return job{}, false
}

func (so *socket) put(j job) error {
	deadline := time.Now().Add(so.server.cfg.WriteTimeout)
	if j.kind != websocket.TextMessage {
		err := so.ws.WriteControl(j.kind, j.payload, deadline)
		if j.kind == websocket.CloseMessage {
			so.awaitAnswer()
		}
		return err
	}
	_ = so.ws.SetWriteDeadline(deadline)
	err := so.ws.WriteMessage(websocket.TextMessage, *j.frame)
	if cap(*j.frame) <= keepBuffer {
		so.server.frames.Put(j.frame)
	}
	return err
}

// awaitAnswer gives the agent a last time to answer our close frame.
func (so *socket) awaitAnswer() {
	so.mu.Lock()
	defer so.mu.Unlock()
	if !so.dead {
		_ = so.ws.SetReadDeadline(time.Now().Add(so.server.cfg.CloseTimeout))
	}
}

// frame is an empty buffer for an encoded frame.
func (s *Server) frame() *[]byte {
	if buffer, ok := s.frames.Get().(*[]byte); ok {
		return buffer
	}
	return new([]byte)
}

// clip makes a reason fit into a close frame.
func clip(reason string) string {
	const limit = 123
	return strings.ToValidUTF8(reason[:min(len(reason), limit)], "")
}

func stack() slog.Attr { return slog.String("stack", string(debug.Stack())) }
