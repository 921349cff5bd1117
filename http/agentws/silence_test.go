package agentws_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/agentws"
)

// C2, F6, F7: an agent that went silent is given up, though TCP shows nothing.
func TestSocket_SilentAgentIsGivenUp(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.PingInterval = 30 * time.Millisecond })
	ws, l := b.dial(t)
	send(t, ws, hello())
	<-l.received
	require.Contains(t, <-l.closed, "silent for") // ws is open but nobody reads it, so pings go unanswered
}

func TestSocket_PingsKeepAnIdleAgent(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.PingInterval = 500 * time.Millisecond })
	ws, l := b.dial(t)
	pings := make(chan struct{}, 1000)
	ws.SetPingHandler(func(data string) error {
		pings <- struct{}{}
		return ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	})
	send(t, ws, hello())
	go func() { _, _, _ = ws.ReadMessage() }()
	for range 5 { // longer than three intervals
		select {
		case <-pings:
		case reason := <-l.closed:
			t.Fatal(reason)
		}
	}
}

func TestSocket_AnswersPings(t *testing.T) {
	t.Parallel()
	b := start(t)
	ws, _ := b.dial(t)
	pong := make(chan string, 1)
	ws.SetPongHandler(func(data string) error { pong <- data; return nil })
	go func() { _, _, _ = ws.ReadMessage() }()
	require.NoError(t, ws.WriteControl(websocket.PingMessage, []byte("42"), time.Now().Add(time.Minute)))
	require.Equal(t, "42", <-pong)
}

// F27: neither pings nor a trickle of bytes replace the first frame or the rest of one.
func TestSocket_LifeSignsDoNotReplaceFrames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		greet, begin bool
		reason       string
	}{
		"no hello":        {false, false, "no hello within"},
		"endless hello":   {false, true, "a frame took longer"},
		"endless message": {true, true, "a frame took longer"},
	} {
		b := start(t, func(c *agentws.Config) {
			c.FrameTimeout, c.PingInterval = 100*time.Millisecond, time.Minute
			c.HelloTimeout = time.Minute
			if name == "no hello" {
				c.HelloTimeout = 100 * time.Millisecond
			}
		})
		ws, l := b.dial(t)
		if want.greet {
			send(t, ws, hello())
			<-l.received
		}
		stop := make(chan struct{})
		trickled := make(chan struct{})
		go func() {
			defer close(trickled)
			trickle(ws, want.begin, stop)
		}()
		require.Contains(t, <-l.closed, want.reason, name)
		close(stop)
		<-trickled
	}
}

// trickle sends pings, and if begun also single bytes of a frame that never ends.
func trickle(ws *websocket.Conn, begin bool, stop chan struct{}) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	if begin {
		header := []byte{0x01, 0x80 | 1, 0, 0, 0, 0, '{'} // text, more to come
		if _, err := ws.NetConn().Write(header); err != nil {
			return
		}
	}
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if begin {
			if _, err := ws.NetConn().Write([]byte{0x00, 0x80 | 1, 0, 0, 0, 0, ' '}); err != nil {
				return
			}
		}
		if ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
			return
		}
	}
}

// A full queue closes the socket; Send never blocks meanwhile.
func TestSocket_AgentThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *agentws.Config) { c.QueueBytes = 4 << 20 })
	_, l := b.dial(t)
	big := hello()
	big.GetHelloRequest().ServerId = strings.Repeat("a", 1<<20)
	var err error
	for range 1000 { // the kernel buffers some of it
		if err = l.conn.Send(big); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, agentws.ErrQueueFull)
	require.Equal(t, "it does not read what it is sent", <-l.closed)
	require.ErrorIs(t, l.conn.Send(hello()), agentws.ErrClosed)
}
