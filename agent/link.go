package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// outgoing is how many frames may wait for the socket. More means that the broker
// does not read, and ends the connection: answers are remembered.
const outgoing = 64

// missedBeats is how many silent ping intervals end a connection.
const missedBeats = 3

var (
	errSilent    = errors.New("agent: the broker has been silent for too long")
	errFull      = errors.New("agent: the broker does not read what it is sent")
	errNewServer = errors.New("agent: the host changed its name or address")
)

// link is one connection. The goroutine of serve writes, another one reads.
type link struct {
	agent    *Agent
	conn     *websocket.Conn
	broker   string
	serverID string
	beat     time.Duration
	out      chan *messages.AgentFrame
	acked    chan struct{} // holds at most one: a report was confirmed
	pong     atomic.Int64  // time since the agent started when the latest pong came
	bulky    atomic.Bool   // a large frame came since the last beat

	ending sync.Once
	ended  chan struct{}
	why    error // set before ended is closed
}

func newLink(a *Agent, conn *websocket.Conn, broker string) *link {
	conn.SetReadLimit(agentproto.MaxFrameBytes)
	return &link{
		agent:  a,
		conn:   conn,
		broker: broker,
		out:    make(chan *messages.AgentFrame, outgoing),
		acked:  make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
}

// send queues a frame; it never blocks. A full queue ends the connection.
func (l *link) send(frame *messages.AgentFrame) {
	select {
	case l.out <- frame:
	default:
		l.end(errFull)
	}
}

// end closes the connection, once, for the first reason given.
func (l *link) end(why error) {
	l.ending.Do(func() {
		l.why = why
		close(l.ended)
		_ = l.conn.Close()
	})
}

func (l *link) close() { l.end(nil) }

// serve keeps the connection alive until it breaks or ctx ends.
func (l *link) serve(ctx context.Context) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer l.close()
	reading.Go(func() { l.read(ctx) })

	a := l.agent
	beat := time.NewTicker(l.beat)
	defer beat.Stop()
	// The first report follows hello at once. Later ones of many agents that came
	// back together spread out over the interval.
	report := time.NewTimer(0)
	defer report.Stop()
	soon := true
	next := a.cfg.Timing.Report/2 + rand.N(a.cfg.Timing.Report/2+1)
	// The third beat in a row without an answer ends it; half a beat is for the clock.
	life := liveness{patience: missedBeats*l.beat + a.cfg.Timing.Report,
		pong: (missedBeats-1)*l.beat - l.beat/2, crowded: a.cfg.Timing.Write}
	life.look(a.cfg.WallClock(), time.Since(a.started))
	for {
		select {
		case <-ctx.Done():
			l.farewell()
			return ctx.Err()
		case <-l.ended:
			return l.why
		case frame := <-l.out:
			n, err := l.write(frame)
			if err != nil {
				return err
			}
			life.moved(n)
		case <-beat.C:
			if l.bulky.Swap(false) {
				life.moved(math.MaxInt)
			}
			life.ponged(time.Duration(l.pong.Load()))
			if err := life.look(a.cfg.WallClock(), time.Since(a.started)); err != nil {
				return err
			}
			life.pinged(time.Since(a.started))
			if err := l.ping(); err != nil {
				return err
			}
		case <-l.acked:
			life.acked()
		case <-a.changed:
			if !soon { // else a stream of changes would put the report off for ever
				soon = true
				report.Reset(a.cfg.Timing.Debounce)
			}
		case <-report.C:
			soon = false
			life.reported(time.Since(a.started))
			a.reporter.start(ctx, l)
			report.Reset(next)
			next = a.cfg.Timing.Report
		}
	}
}

// read takes frames until the connection ends.
func (l *link) read(ctx context.Context) {
	patience := missedBeats * l.beat
	extend := func() { _ = l.conn.SetReadDeadline(time.Now().Add(patience)) }
	answerPing := l.conn.PingHandler()
	l.conn.SetPingHandler(func(data string) error {
		extend()
		return answerPing(data)
	})
	l.conn.SetPongHandler(func(string) error {
		l.pong.Store(int64(time.Since(l.agent.started)))
		extend()
		return nil
	})
	for {
		extend()
		kind, data, err := l.conn.ReadMessage()
		if err != nil {
			l.end(readError(err))
			return
		}
		if kind != websocket.TextMessage {
			l.agent.log.Warn("Ignored a binary frame of the broker", "bytes", len(data))
			continue
		}
		if len(data) > muchBytes {
			l.bulky.Store(true)
		}
		l.receive(ctx, data)
	}
}

func (l *link) receive(ctx context.Context, data []byte) {
	frame, err := agentproto.Decode(data)
	if err != nil { // the broker's mistake or a newer broker: neither is worth a reconnection
		l.agent.log.Warn("Ignored a broker message", "bytes", len(data), "error", decodeError(err))
		return
	}
	l.agent.logFrame(frame, data)
	switch body := frame.Body.(type) {
	case *messages.AgentFrame_SessionsUpdateResponse:
		l.confirmed(body.SessionsUpdateResponse)
	case *messages.AgentFrame_CreateSessionRequest,
		*messages.AgentFrame_DeleteSessionRequest,
		*messages.AgentFrame_SetPermissionsRequest,
		*messages.AgentFrame_ScreenshotRequest,
		*messages.AgentFrame_DescribeRequest:
		l.agent.work.submit(ctx, frame)
	default:
		l.agent.log.Warn("Ignored a message that brokers do not send", "message", agentproto.Name(frame))
	}
}

func (l *link) confirmed(response *messages.SessionsUpdateResponse) {
	if !response.GetResult().GetSuccess() {
		l.agent.log.Warn("The broker did not accept a report")
		return
	}
	l.agent.lastAck.Store(time.Now().UnixMilli())
	select {
	case l.acked <- struct{}{}:
	default:
	}
}

// write sends one frame and says how large it was. Only one goroutine writes at a time.
func (l *link) write(frame *messages.AgentFrame) (bytes int, err error) {
	data, err := agentproto.Encode(frame)
	if err == nil && len(data) > agentproto.MaxFrameBytes {
		err = fmt.Errorf("%d bytes exceed the frame limit", len(data))
	}
	if err != nil { // losing one frame is better than losing it again on every connection
		l.agent.log.Error("Cannot send a message", "message", agentproto.Name(frame), "error", err)
		return 0, nil
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(l.agent.cfg.Timing.Write))
	if err := l.conn.WriteMessage(websocket.TextMessage, data); err != nil {
		return 0, fmt.Errorf("agent: write: %w", err)
	}
	return len(data), nil
}

func (l *link) ping() error {
	if err := l.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(l.beat)); err != nil {
		return fmt.Errorf("agent: ping: %w", err)
	}
	return nil
}

// farewell tells the broker that the agent goes away on purpose.
func (l *link) farewell() {
	message := websocket.FormatCloseMessage(websocket.CloseGoingAway, "agent stops")
	_ = l.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second))
}

// readHello reads the first frame, which must be the answer to hello.
func (l *link) readHello(patience time.Duration) (*messages.HelloResponse, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience))
	_, data, err := l.conn.ReadMessage()
	if err != nil {
		return nil, fmt.Errorf("agent: wait for the answer to hello: %w", readError(err))
	}
	frame, err := agentproto.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("agent: answer to hello: %w", decodeError(err))
	}
	l.agent.logFrame(frame, data)
	answer := frame.GetHelloResponse()
	if answer == nil {
		return nil, fmt.Errorf("agent: %q came instead of the answer to hello", agentproto.Name(frame))
	}
	return answer, nil
}

// decodeError leaves out what the decoder quotes: it may be somebody's secret.
func decodeError(err error) error {
	if errors.Is(err, agentproto.ErrUnknownMessage) {
		return err // quotes the message's name only
	}
	for _, known := range []error{agentproto.ErrMalformed, agentproto.ErrTooComplex} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errors.New("agent: undecodable frame")
}

func readError(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errSilent
	}
	return fmt.Errorf("agent: read: %w", err)
}
