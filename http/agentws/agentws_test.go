package agentws_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/http/agentws"
	"opensessionmanager/http/audit"
	"opensessionmanager/http/listen"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the library's clock and pool cleaner end late or never
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// desk is the broker behind the sockets: it keeps what links are told.
type desk struct {
	refuse   error
	onFrame  func(*link, *messages.AgentFrame)
	attached chan *link
}

type link struct {
	desk     *desk
	conn     agentws.Conn
	client   string
	received chan *messages.AgentFrame
	closed   chan string
}

func (d *desk) Attach(conn agentws.Conn, client string) (agentws.Link, error) {
	if d.refuse != nil {
		return nil, d.refuse
	}
	l := &link{desk: d, conn: conn, client: client, received: make(chan *messages.AgentFrame, 10_000), closed: make(chan string, 2)}
	d.attached <- l
	return l, nil
}

func (l *link) Received(frame *messages.AgentFrame) {
	if l.desk.onFrame != nil {
		l.desk.onFrame(l, frame)
	}
	l.received <- frame
}

func (l *link) Closed(reason string) { l.closed <- reason }

// broker is a port with a Server behind it, on loopback.
type broker struct {
	*agentws.Server
	*desk
	addr string
}

func start(t testing.TB, changes ...func(*agentws.Config)) *broker {
	t.Helper()
	b := &broker{desk: &desk{attached: make(chan *link, 10_000)}}
	cfg := agentws.Config{
		Authorize: func(header []byte) (string, error) {
			id, ok := strings.CutPrefix(string(header), "Bearer ")
			if !ok {
				return "", errors.New("No authorization header")
			}
			return id, nil
		},
		Attacher: b.desk,
		Logger:   slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&cfg)
	}
	var err error
	b.Server, err = agentws.New(cfg)
	require.NoError(t, err)
	port, err := listen.New(listen.Config{Name: "agent", Addr: "127.0.0.1:0", Handler: b.Handler(), Logger: cfg.Logger})
	require.NoError(t, err)
	port.Start()
	b.addr = port.Addr().String()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Shutdown(ended, "test ends")
		_ = port.Shutdown(ended)
		require.Eventually(t, func() bool { return b.Count() == 0 }, time.Minute, time.Millisecond, "sockets left")
	})
	return b
}

func (b *broker) dial(t testing.TB) (*websocket.Conn, *link) {
	t.Helper()
	ws, response, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, http.Header{"Authorization": {"Bearer a-1"}})
	require.NoError(t, err)
	_ = response.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return ws, <-b.attached
}

func hello() *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{
		HelloRequest: &messages.HelloRequest{RequestId: agentproto.NewRequestID()}}}
}

func send(t testing.TB, ws *websocket.Conn, frame *messages.AgentFrame) {
	t.Helper()
	text, err := agentproto.Encode(frame)
	require.NoError(t, err)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, text))
}

// readClose reads to the end and returns the close code.
func readClose(t testing.TB, ws *websocket.Conn) (int, string) {
	t.Helper()
	for {
		_, _, err := ws.ReadMessage()
		if err == nil {
			continue
		}
		var closed *websocket.CloseError
		require.ErrorAs(t, err, &closed)
		return closed.Code, closed.Text
	}
}

func TestSocket_FramesGoBothWaysInOrder(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	require.Equal(t, "a-1", l.client)
	require.NotEmpty(t, l.conn.RemoteAddr())
	var sent []string
	for range 50 {
		frame := hello()
		sent = append(sent, agentproto.RequestID(frame))
		send(t, ws, frame)
	}
	for _, id := range sent {
		require.Equal(t, id, agentproto.RequestID(<-l.received))
	}
	for range 50 {
		require.NoError(t, l.conn.Send(hello()))
	}
	for range 50 {
		_, text, err := ws.ReadMessage()
		require.NoError(t, err)
		frame, err := agentproto.Decode(text)
		require.NoError(t, err)
		require.Equal(t, "helloRequest", agentproto.Name(frame))
	}
}

// C26: a screenshot of several megabytes passes.
func TestSocket_LargeFramesPass(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	send(t, ws, hello())
	<-l.received
	data := make([]byte, 8<<20)
	send(t, ws, &messages.AgentFrame{Body: &messages.AgentFrame_ScreenshotResponse{ScreenshotResponse: &messages.ScreenshotResponse{
		Images: []*messages.ScreenshotImage{{Data: data}}}}})
	require.Len(t, (<-l.received).GetScreenshotResponse().GetImages()[0].GetData(), len(data))
}

func TestUpgrade_NeedsAuthorizationAndAHandshake(t *testing.T) {
	t.Parallel()
	var trail bytes.Buffer
	b := start(t, func(c *agentws.Config) {
		c.Audit = audit.New(slog.New(slog.NewTextHandler(&trail, nil)), c.Logger)
	})
	_, response, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, nil)
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.Equal(t, "Bearer", response.Header.Get("WWW-Authenticate"))

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.addr+agentproto.PathSocket, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer a-1")
	request.Close = true
	response, err = http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusBadRequest, response.StatusCode)

	_, response, err = websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, // a web page
		http.Header{"Authorization": {"Bearer a-1"}, "Origin": {"https://evil.test"}})
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Zero(t, b.Count())
	require.NotContains(t, trail.String(), "outcome=done", "nobody was attached")
}

// F15: beyond its limit the broker refuses, and says when to come back.
func TestUpgrade_BoundsTheNumberOfSockets(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.MaxSockets = 1 })
	first, l := b.dial(t)
	_, response, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, http.Header{"Authorization": {"Bearer a-2"}})
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	require.NoError(t, first.Close())
	<-l.closed
	require.Eventually(t, func() bool { return b.Count() == 0 }, time.Minute, time.Millisecond, "the place is not free")
	b.dial(t)
}

func TestSocket_ClosesOnWhatIsNotTheProtocol(t *testing.T) {
	t.Parallel()
	b := start(t)
	for name, c := range map[string]struct {
		kind int
		text string
		code int
	}{
		"binary":      {websocket.BinaryMessage, `{"helloRequest":{}}`, agentws.CloseUnsupported},
		"no JSON":     {websocket.TextMessage, `hello`, agentws.CloseInvalid},
		"no key":      {websocket.TextMessage, `{}`, agentws.CloseInvalid},
		"two keys":    {websocket.TextMessage, `{"helloRequest":{},"helloResponse":{}}`, agentws.CloseInvalid},
		"bad UTF-8":   {websocket.TextMessage, "{\"helloRequest\":{\"requestId\":\"\xff\"}}", agentws.CloseInvalid},
		"deep":        {websocket.TextMessage, `{"helloRequest":{"x":` + strings.Repeat("[", 5000) + `}}`, agentws.ClosePolicy},
		"many values": {websocket.TextMessage, `{"helloRequest":{"x":[` + strings.Repeat("1,", 70_000) + `1]}}`, agentws.ClosePolicy},
	} {
		ws, l := b.dial(t)
		require.NoError(t, ws.WriteMessage(c.kind, []byte(c.text)), name)
		code, text := readClose(t, ws)
		require.Equal(t, c.code, code, name)
		require.NotEmpty(t, text, name)
		require.Contains(t, <-l.closed, "closed by the broker", name)
		require.Empty(t, l.received, name)
	}
}

// F46: what a newer agent adds does not cost it the connection.
func TestSocket_IgnoresMessagesItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"rebootRequest":{"requestId":"a"}}`)))
	send(t, ws, hello())
	require.Equal(t, "helloRequest", agentproto.Name(<-l.received))
}

func TestSocket_RefusesFramesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.MaxFrameBytes = 1000 })
	ws, l := b.dial(t)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, make([]byte, 1001)))
	require.Contains(t, <-l.closed, "too large")

	_, l = b.dial(t)
	frame := hello()
	frame.GetHelloRequest().ServerId = strings.Repeat("a", 1000)
	require.ErrorIs(t, l.conn.Send(frame), agentws.ErrTooLarge)
	require.ErrorIs(t, l.conn.Send(nil), agentproto.ErrNoMessage)
	require.NoError(t, l.conn.Send(hello())) // the socket is none the worse
}

// F23: all sockets together may only keep so much of frames that are under way.
func TestSocket_BoundsTheBytesOfAllFramesUnderWay(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.MaxPendingBytes = 100 << 10 })
	ws, l := b.dial(t)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, make([]byte, 1<<19)))
	require.Contains(t, <-l.closed, "receiving too much")
	ws, l = b.dial(t) // what was taken is given back
	send(t, ws, hello())
	<-l.received
}

// What was sent before Close arrives before the close frame.
func TestSocket_CloseSendsWhatIsQueued(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	for range 20 {
		require.NoError(t, l.conn.Send(hello()))
	}
	l.conn.Close(agentws.ClosePolicy, "duplicate identity "+strings.Repeat("é", 100))
	l.conn.Close(agentws.CloseNormal, "later calls do nothing")
	require.ErrorIs(t, l.conn.Send(hello()), agentws.ErrClosed)
	for range 20 {
		_, _, err := ws.ReadMessage()
		require.NoError(t, err)
	}
	code, text := readClose(t, ws)
	require.Equal(t, agentws.ClosePolicy, code)
	require.True(t, strings.HasPrefix(text, "duplicate identity é"))
	require.Contains(t, <-l.closed, "duplicate identity")
}

func TestSocket_CloseDoesNotWaitForADeafAgent(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.CloseTimeout = 20 * time.Millisecond })
	_, l := b.dial(t) // never reads, so never answers the close frame
	l.conn.Close(agentws.CloseNormal, "bye")
	require.Equal(t, "closed by the broker: bye", <-l.closed)
}

func TestSocket_TellsWhyTheAgentLeft(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, l := b.dial(t)
	require.NoError(t, ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1001, "reboot"), time.Now().Add(time.Minute)))
	require.Equal(t, `closed by the agent: 1001 "reboot"`, <-l.closed)
	ws, l = b.dial(t)
	require.NoError(t, ws.NetConn().Close())
	require.Equal(t, "connection lost", <-l.closed)
}

// F25: a link that panics costs its own socket.
func TestSocket_PanicOfALinkCostsItsSocketOnly(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.onFrame = func(_ *link, frame *messages.AgentFrame) {
		if frame.GetHelloRequest().GetServerId() == "poison" {
			panic("boom")
		}
	}
	healthy, other := b.dial(t)
	ws, l := b.dial(t)
	poison := hello()
	poison.GetHelloRequest().ServerId = "poison"
	send(t, ws, poison)
	code, text := readClose(t, ws)
	require.Equal(t, agentws.CloseInternal, code)
	require.Equal(t, "internal error", text)
	<-l.closed
	send(t, healthy, hello())
	<-other.received
}

func TestSocket_RefusedAttachmentClosesWithTryLater(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.refuse = errors.New("secret detail")
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, http.Header{"Authorization": {"Bearer a-1"}})
	require.NoError(t, err)
	defer ws.Close()
	code, text := readClose(t, ws)
	require.Equal(t, agentws.CloseTryLater, code)
	require.NotContains(t, text, "secret")
}

// An agent that floods is slowed down, not served at its speed and not cut off.
func TestSocket_FloodIsSlowedDown(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.FramesPerSecond = 50 })
	ws, l := b.dial(t)
	began := time.Now()
	for range 60 { // 50 at once, then 20 ms each
		send(t, ws, hello())
	}
	for range 60 {
		<-l.received
	}
	require.GreaterOrEqual(t, time.Since(began), 150*time.Millisecond)
	require.Empty(t, l.closed)
}

func TestShutdown_TellsEveryAgentAndWaitsForTheLinks(t *testing.T) {
	t.Parallel()
	b := start(t)
	var told sync.WaitGroup
	var links []*link
	for range 5 {
		ws, l := b.dial(t)
		links = append(links, l)
		told.Go(func() {
			_, _, err := ws.ReadMessage()
			if !websocket.IsCloseError(err, agentws.CloseGoingAway) {
				t.Error(err)
			}
		})
	}
	require.NoError(t, b.Shutdown(t.Context(), "broker stops"))
	told.Wait()
	for _, l := range links {
		require.Len(t, l.closed, 1)
	}
	_, response, err := websocket.DefaultDialer.Dial("ws://"+b.addr+agentproto.PathSocket, http.Header{"Authorization": {"Bearer a-1"}})
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.NoError(t, b.Shutdown(t.Context(), "again"))
}

func TestShutdown_CutsOffWhoeverOutlastsIt(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.CloseTimeout = time.Hour })
	_, l := b.dial(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Shutdown(ended, "broker stops"), context.Canceled)
	require.Contains(t, <-l.closed, "broker stops")
}

func TestNew_NeedsItsParts(t *testing.T) {
	t.Parallel()
	_, err := agentws.New(agentws.Config{})
	require.ErrorIs(t, err, agentws.ErrConfig)
}
