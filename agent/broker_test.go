package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// patience is how long a test waits for what must happen; it is no requirement.
const patience = 30 * time.Second

// broker is the other end: it accepts agents and hands their sockets to the test.
type broker struct {
	t      *testing.T
	server *httptest.Server
	peers  chan *peer
	deaf   atomic.Bool // for pings

	mu      sync.Mutex
	hello   func(*messages.HelloRequest) *messages.HelloResponse
	upgrade func(http.ResponseWriter, *http.Request) bool // false: answered already
}

// peer is one agent's socket on the broker's side. Reports are confirmed and
// kept; everything else that arrives goes to frames.
type peer struct {
	t       *testing.T
	conn    *websocket.Conn
	hello   *messages.HelloRequest
	reports chan *messages.SessionsUpdateRequest
	frames  chan *messages.AgentFrame
	gone    chan struct{}
	writing sync.Mutex
}

func newBroker(t *testing.T) *broker {
	b := &broker{t: t, peers: make(chan *peer, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc(agentproto.PathSocket, b.accept)
	b.server = httptest.NewTLSServer(mux)
	t.Cleanup(b.server.Close)
	return b
}

func (b *broker) address() string { return b.server.Listener.Addr().String() }

func (b *broker) onHello(answer func(*messages.HelloRequest) *messages.HelloResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hello = answer
}

func (b *broker) onUpgrade(f func(http.ResponseWriter, *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.upgrade = f
}

func (b *broker) accept(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	upgrade, hello := b.upgrade, b.hello
	b.mu.Unlock()
	if upgrade != nil && !upgrade(w, r) {
		return
	}
	var upgrader websocket.Upgrader
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	_, data, err := conn.ReadMessage()
	if err != nil {
		return
	}
	frame, err := agentproto.Decode(data)
	if err != nil || frame.GetHelloRequest() == nil {
		b.t.Errorf("the first frame must be hello, got %s (%v)", data, err)
		return
	}
	answer := welcome(frame.GetHelloRequest())
	if hello != nil {
		answer = hello(frame.GetHelloRequest())
	}
	p := &peer{
		t: b.t, conn: conn, hello: frame.GetHelloRequest(),
		reports: make(chan *messages.SessionsUpdateRequest, 256),
		frames:  make(chan *messages.AgentFrame, 256),
		gone:    make(chan struct{}),
	}
	if b.deaf.Load() {
		conn.SetPingHandler(func(string) error { return nil })
	}
	if answer == nil { // silent
		b.peers <- p
		return
	}
	p.send(&messages.AgentFrame{Body: &messages.AgentFrame_HelloResponse{HelloResponse: answer}})
	if answer.GetResult().GetSuccess() {
		b.peers <- p
	}
	go p.read()
}

func welcome(hello *messages.HelloRequest) *messages.HelloResponse {
	return &messages.HelloResponse{
		RequestId:       hello.GetRequestId(),
		Result:          &messages.Result{Success: true},
		ProtocolVersion: &messages.ProtocolVersion{Major: messages.AgentProtocolMajor},
		BrokerVersion:   "test",
	}
}

func (p *peer) read() {
	defer close(p.gone)
	defer p.conn.Close()
	for {
		_, data, err := p.conn.ReadMessage()
		if err != nil {
			return
		}
		frame, err := agentproto.Decode(data)
		if err != nil {
			p.t.Errorf("agent sent %s: %v", data, err)
			return
		}
		report := frame.GetSessionsUpdateRequest()
		p.frames <- frame
		if report == nil {
			continue
		}
		p.reports <- report
		p.send(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateResponse{
			SessionsUpdateResponse: &messages.SessionsUpdateResponse{
				RequestId: report.GetRequestId(), Result: &messages.UpdateResult{Success: true}}}})
	}
}

func (p *peer) send(frame *messages.AgentFrame) {
	data, err := agentproto.Encode(frame)
	if err != nil {
		p.t.Errorf("encode: %v", err)
		return
	}
	p.sendBytes(data)
}

func (p *peer) sendBytes(data []byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = p.conn.WriteMessage(websocket.TextMessage, data)
}

// next returns the next frame that want accepts.
func next[T any](p *peer, what string, want func(*messages.AgentFrame) (T, bool)) T {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case frame := <-p.frames:
			if found, ok := want(frame); ok {
				return found
			}
		case <-timeout:
			p.t.Fatalf("no %s", what)
		}
	}
}

func (p *peer) report(what string, want func(*messages.SessionsUpdateRequest) bool) *messages.SessionsUpdateRequest {
	p.t.Helper()
	return next(p, "report: "+what, func(f *messages.AgentFrame) (*messages.SessionsUpdateRequest, bool) {
		r := f.GetSessionsUpdateRequest()
		return r, r != nil && want(r)
	})
}

func (b *broker) peer(what string) *peer {
	b.t.Helper()
	return receive(b.t, b.peers, what)
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func quick() agent.Timing {
	return agent.Timing{
		Report:     time.Hour, // only what the test provokes
		Debounce:   time.Millisecond,
		Beat:       400 * time.Millisecond,
		RetryBase:  time.Millisecond,
		RetryLimit: 10 * time.Millisecond, RefusedLimit: 10 * time.Millisecond,
	}
}

// host is one simulated host for a test.
type host struct {
	config agent.Config
	driver *fake.Driver
	agent  *agent.Agent
}

func newHost(t *testing.T, brokers ...*broker) *host {
	roots := x509.NewCertPool()
	var addresses []string
	for _, b := range brokers {
		roots.AddCert(b.server.Certificate())
		addresses = append(addresses, b.address())
	}
	d := fake.New(nil)
	return &host{driver: d, config: agent.Config{
		Brokers:   addresses,
		Transport: agent.NewTransport(&tls.Config{RootCAs: roots, ServerName: "example.com"}, nil),
		Driver:    d,
		Host: agent.StaticHost{Known: &messages.ServerFacts{
			Hostname: "host-1", Ip: "10.0.0.1", Os: &messages.Os{Family: "linux"}}},
		Identity: identity.InMemory("", "boot-1"),
		Limits:   agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		Timing:   quick(),
		Version:  "1.2.3",
		Logger:   slog.New(slog.DiscardHandler),
	}}
}

// start runs the agent until the test ends or stop is called.
func (h *host) start(t *testing.T) (stop func()) {
	t.Helper()
	a, err := agent.New(h.config)
	require.NoError(t, err)
	h.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	stop = func() {
		cancel()
		receive(t, done, "the end of the agent")
	}
	t.Cleanup(stop)
	return stop
}

// logBuffer collects a log.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// stuckConn swallows everything after it was cut, as a half-open connection does.
type stuckConn struct {
	net.Conn
	cut  chan struct{}
	once sync.Once
}

func (c *stuckConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.cut:
		for err == nil { // nothing arrives any more, only the deadline does
			_, err = c.Conn.Read(p)
		}
		return 0, err
	default:
		return n, err
	}
}

func (c *stuckConn) Write(p []byte) (int, error) {
	select {
	case <-c.cut:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

func clientTLS(b *broker) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(b.server.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// keepPinging pings the agent until stop is called.
func (p *peer) keepPinging(every time.Duration) (stop func()) {
	tick, over := time.NewTicker(every), make(chan struct{})
	var pinging sync.WaitGroup
	pinging.Go(func() {
		for {
			select {
			case <-tick.C:
				_ = p.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			case <-over:
				return
			}
		}
	})
	return func() { tick.Stop(); close(over); pinging.Wait() }
}
