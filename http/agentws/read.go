package agentws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/fasthttp/websocket"

	"opensessionmanager/internal/agentproto"
)

// firstFrameBytes bounds the first frame: who has not said hello gets little room.
const firstFrameBytes = 1 << 20

var errBusy = errors.New("agentws: too many bytes of frames in memory")

// read is the read pump. It returns why the socket ended. After Close it reads
// on, deaf, so that the agent's answer to the close frame is seen.
func (so *socket) read(link Link) (reason string) {
	cfg := &so.server.cfg
	so.ws.SetReadLimit(int64(min(firstFrameBytes, cfg.MaxFrameBytes)))
	so.allow(cfg.HelloTimeout)
	for {
		kind, text, err := so.ws.NextReader()
		if err != nil {
			return so.why(err)
		}
		if kind != websocket.TextMessage {
			so.Close(CloseUnsupported, "only text frames are understood")
			continue
		}
		if err := so.receive(text, link); err != nil {
			return so.why(err)
		}
		so.slow()
	}
}

// receive reads the rest of a frame and passes it on. An error is the connection's.
func (so *socket) receive(text io.Reader, link Link) error {
	so.receiving = true
	so.allow(so.server.cfg.FrameTimeout)
	account := &account{server: so.server, source: text}
	defer account.close()
	buffer := so.server.buffer()
	defer so.server.release(buffer)
	_, err := buffer.ReadFrom(account)
	if errors.Is(err, errBusy) {
		so.receiving = false
		so.Close(CloseTryLater, "the broker is receiving too much at once")
		return nil
	}
	if err != nil {
		return err
	}
	so.receiving = false
	if !so.greeted {
		so.greeted = true
		so.ws.SetReadLimit(int64(so.server.cfg.MaxFrameBytes))
	}
	so.hear()
	so.deliver(buffer.Bytes(), link)
	return nil
}

func (so *socket) deliver(text []byte, link Link) {
	if so.isClosing() {
		return
	}
	frame, err := agentproto.Decode(text)
	switch {
	case err == nil:
		so.guarded("receive "+agentproto.Name(frame), func() { link.Received(frame) })
	case errors.Is(err, agentproto.ErrUnknownMessage): // a newer agent's
		so.logger.Debug("frame ignored", slog.Any("reason", err))
	case errors.Is(err, agentproto.ErrTooComplex):
		so.Close(ClosePolicy, "frame too complex")
	default:
		so.logger.Debug("frame refused", slog.Any("reason", err))
		so.Close(CloseInvalid, "frame is not one message of the agent protocol")
	}
}

// slow holds an agent that sends too fast to its rate, by not reading on.
func (so *socket) slow() {
	if so.pace.Allow() {
		return
	}
	timer := time.NewTimer(so.pace.Reserve().Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-so.gone:
	}
}

func (so *socket) isClosing() bool {
	so.mu.Lock()
	defer so.mu.Unlock()
	return so.closing != nil || so.dead
}

// why turns the error that ended reading into a reason, unless one is known.
func (so *socket) why(err error) string {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.reason != "" {
		return so.reason
	}
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		return fmt.Sprintf("closed by the agent: %d %q", closed.Code, closed.Text)
	case errors.Is(err, websocket.ErrReadLimit):
		return "it sent a frame that is too large"
	case errors.As(err, &network) && network.Timeout():
		return so.silence()
	}
	return "connection lost"
}

func (so *socket) silence() string {
	cfg := &so.server.cfg
	switch {
	case so.receiving:
		return fmt.Sprintf("a frame took longer than %s", cfg.FrameTimeout)
	case !so.greeted:
		return fmt.Sprintf("no hello within %s", cfg.HelloTimeout)
	}
	return fmt.Sprintf("silent for %s", missedBeats*cfg.PingInterval)
}

// account counts the bytes of one frame against Config.MaxPendingBytes. The first
// keepBuffer bytes are free: they fit into a buffer that exists anyway.
type account struct {
	server *Server
	source io.Reader
	read   int64
	taken  int64
}

func (a *account) Read(p []byte) (int, error) {
	const step = 64 << 10
	if int64(len(p)) > step {
		p = p[:step]
	}
	n, err := a.source.Read(p)
	a.read += int64(n)
	if a.read > keepBuffer+a.taken {
		a.taken += step
		if a.server.pending.Add(step) > a.server.cfg.MaxPendingBytes {
			return n, errBusy
		}
	}
	return n, err
}

func (a *account) close() { a.server.pending.Add(-a.taken) }

func (s *Server) buffer() *bytes.Buffer {
	if buffer, ok := s.buffers.Get().(*bytes.Buffer); ok {
		return buffer
	}
	return new(bytes.Buffer)
}

func (s *Server) release(buffer *bytes.Buffer) {
	if buffer.Cap() <= keepBuffer {
		buffer.Reset()
		s.buffers.Put(buffer)
	}
}
