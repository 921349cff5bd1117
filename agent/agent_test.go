package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/agent/identity"
	"opensessionmanager/messages"
)

func TestAgent_SaysHelloThenReportsEverything(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.driver.Put(&messages.DcvSession{Id: "console", Owner: "ubuntu", Type: "console", Status: "created"})
	h.start(t)
	p := b.peer("the agent")

	require.Equal(t, int32(messages.AgentProtocolMajor), p.hello.GetProtocolVersion().GetMajor())
	require.Equal(t, identity.ServerID("host-1", "10.0.0.1", p.hello.GetMachineId()), p.hello.GetServerId())
	require.Equal(t, "boot-1", p.hello.GetBootId())
	require.Len(t, p.hello.GetInstanceId(), 32)
	require.True(t, p.hello.GetLoad().GetDcvHealthy())
	report := p.report("any", func(*messages.SessionsUpdateRequest) bool { return true })
	require.Len(t, report.GetSessions(), 1)
	require.Equal(t, "console", report.GetSessions()[0].GetId())
	require.Equal(t, "10.0.0.1", report.GetFacts().GetEndpoints()[0].GetIpAddress())
	require.Equal(t, "1.2.3", report.GetFacts().GetAgentVersion())
	require.Equal(t, int32(1), report.GetFacts().GetMaxConsoleSessions())
	require.Eventually(t, func() bool { return !h.agent.Status().LastAck.IsZero() }, patience, time.Millisecond,
		"the confirmation must show")
}

func TestAgent_ReportsPeriodically(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.config.Timing.Report = 5 * time.Millisecond
	h.start(t)
	p := b.peer("the agent")
	for range 5 {
		p.report("one more", func(*messages.SessionsUpdateRequest) bool { return true })
	}
	h.driver.Put(&messages.DcvSession{Id: "made-outside", Type: "virtual"})
	p.report("with a session made outside (F11)", func(r *messages.SessionsUpdateRequest) bool { return len(r.GetSessions()) == 1 })
}

// F9: the DCV server dies, the agent lives. The agent must not claim that the
// sessions are gone, since it cannot know.
func TestAgent_ReportsAnUnhealthyServerWithTheLastKnownSessions(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.config.Timing.Report = 5 * time.Millisecond
	h.driver.Put(&messages.DcvSession{Id: "s-1", Type: "virtual"})
	h.start(t)
	p := b.peer("the agent")
	p.report("healthy", func(r *messages.SessionsUpdateRequest) bool { return r.GetLoad().GetDcvHealthy() })
	h.driver.SetFaults(fake.Faults{Unhealthy: true})
	r := p.report("unhealthy", func(r *messages.SessionsUpdateRequest) bool { return !r.GetLoad().GetDcvHealthy() })
	require.Contains(t, r.GetLoad().GetDcvError(), "not running")
	require.Len(t, r.GetSessions(), 1)
	h.driver.SetFaults(fake.Faults{})
	p.report("healthy again", func(r *messages.SessionsUpdateRequest) bool { return r.GetLoad().GetDcvHealthy() })
}

// F8, F12: losing the broker, or the agent, does not touch sessions; every
// connection starts with a full report.
func TestAgent_ReconnectsAndReportsAgain(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.driver.Put(&messages.DcvSession{Id: "s-1", Type: "virtual"})
	stop := h.start(t)
	first := b.peer("the agent")
	_ = first.conn.Close()
	second := b.peer("the agent again")
	require.Equal(t, first.hello.GetInstanceId(), second.hello.GetInstanceId())
	second.report("the sessions", func(r *messages.SessionsUpdateRequest) bool { return len(r.GetSessions()) == 1 })
	stop()
	receive(t, second.gone, "the end of the socket")
	require.Equal(t, 1, h.driver.Count())
}

func TestAgent_GoesToAnotherBroker(t *testing.T) {
	t.Parallel()
	one, two := newBroker(t), newBroker(t)
	h := newHost(t, one, two)
	h.start(t)
	var lost, other *broker
	var first *peer
	select {
	case first = <-one.peers:
		lost, other = one, two
	case first = <-two.peers:
		lost, other = two, one
	case <-time.After(patience):
		t.Fatal("no connection")
	}
	lost.onUpgrade(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	})
	_ = first.conn.Close()
	other.peer("the agent at the other broker")
}

// cuttable dials connections that can be made half-open.
type cuttable struct {
	mu    sync.Mutex
	conns []*stuckConn
}

func (c *cuttable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stuck := &stuckConn{Conn: conn, cut: make(chan struct{})}
	c.conns = append(c.conns, stuck)
	return stuck, nil
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.once.Do(func() { close(conn.cut) })
	}
}

// C2, F6, F7: a socket that looks established and is not.
func TestAgent_NoticesAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	wire := &cuttable{}
	h.config.Transport = agent.NewTransport(clientTLS(b), wire.dial)
	h.start(t)
	first := b.peer("the agent")
	first.report("first", func(*messages.SessionsUpdateRequest) bool { return true })
	wire.cut()
	second := b.peer("the agent after silence")
	require.Equal(t, first.hello.GetServerId(), second.hello.GetServerId())
}

// C2, F7, F16: the wall clock ran on while the host slept.
func TestAgent_RedialsAfterTheHostSlept(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	var ahead atomic.Int64
	h.config.WallClock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h.start(t)
	first := b.peer("the agent")
	first.report("first", func(*messages.SessionsUpdateRequest) bool { return true })
	ahead.Store(int64(time.Hour))
	b.peer("the agent after waking up").report("after", func(*messages.SessionsUpdateRequest) bool { return true })
}

// A broker whose sockets answer pings while nothing behind them works.
func TestAgent_LeavesABrokerThatDoesNotConfirmReports(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.config.Timing.Report = 10 * time.Millisecond
	b.onHello(func(r *messages.HelloRequest) *messages.HelloResponse { return welcome(r) })
	h.start(t)
	first := b.peer("the agent")
	first.writing.Lock() // no confirmation leaves the broker; pongs do
	defer first.writing.Unlock()
	b.peer("the agent again")
}

// F6: what the agent sends is lost, what the broker sends still comes for a while.
func TestAgent_LeavesABrokerThatIsHeardAndDoesNotAnswer(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	b.deaf.Store(true)
	h := newHost(t, b)
	h.config.Timing.Beat = 100 * time.Millisecond
	h.start(t)
	first := b.peer("the agent")
	stop := first.keepPinging(20 * time.Millisecond)
	defer stop()
	b.peer("the agent again")
}

func TestAgent_GivesUpOnASilentHello(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.config.Timing.Hello = 10 * time.Millisecond
	b.onHello(func(*messages.HelloRequest) *messages.HelloResponse { return nil })
	h.start(t)
	first := b.peer("the agent")
	defer first.conn.Close()
	second := b.peer("the agent again")
	defer second.conn.Close()
	require.False(t, h.agent.Status().Connected)
}

// F13: a cloned image. The clone takes a new identity and keeps it.
func TestAgent_TakesANewIdentityWhenItsOwnIsTaken(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	taken := h.config.Identity.MachineID()
	tokens := &countingTokens{}
	h.config.Tokens = tokens
	b.onHello(func(r *messages.HelloRequest) *messages.HelloResponse {
		answer := welcome(r)
		if r.GetMachineId() == taken {
			answer.Result = &messages.Result{Code: messages.CodeDuplicateIdentity, Error: "taken"}
		}
		return answer
	})
	h.start(t)
	p := b.peer("the agent under a new identity")
	require.NotEqual(t, taken, p.hello.GetMachineId())
	require.Equal(t, h.config.Identity.MachineID(), p.hello.GetMachineId())
	require.Equal(t, int64(1), tokens.replaced.Load(), "the clone must not keep the copied credentials")
}

type countingTokens struct {
	rejected, replaced, given atomic.Int64
}

func (c *countingTokens) Token(context.Context) (string, error) {
	if c.given.Add(1) == 1 {
		return "old", nil
	}
	return "new", nil
}
func (c *countingTokens) Reject(string)                 { c.rejected.Add(1) }
func (c *countingTokens) Replace(context.Context) error { c.replaced.Add(1); return errors.New("no") }

func TestAgent_FetchesANewTokenWhenTheBrokerRejectsIt(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	tokens := &countingTokens{}
	h.config.Tokens = tokens
	b.onUpgrade(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer new" {
			return true
		}
		w.WriteHeader(http.StatusUnauthorized)
		return false
	})
	h.start(t)
	b.peer("the agent with the new token")
	require.Equal(t, int64(1), tokens.rejected.Load())
}

// F46: another major version is refused, and what is more than two minor versions apart.
func TestAgent_ChecksTheProtocolVersion(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	var tries atomic.Int32
	b.onHello(func(r *messages.HelloRequest) *messages.HelloResponse {
		answer := welcome(r)
		answer.ProtocolVersion = &messages.ProtocolVersion{Major: messages.AgentProtocolMajor, Minor: messages.AgentProtocolMinor + 2}
		switch tries.Add(1) {
		case 1:
			answer.ProtocolVersion = &messages.ProtocolVersion{Major: messages.AgentProtocolMajor + 1}
		case 2:
			answer.ProtocolVersion = &messages.ProtocolVersion{Major: messages.AgentProtocolMajor, Minor: messages.AgentProtocolMinor + 3}
		}
		return answer
	})
	h.start(t)
	b.peer("a broker of another major version, left")
	b.peer("a broker three minor versions newer, left")
	p := b.peer("a broker of a newer minor version")
	p.sendBytes([]byte(`{"rebootRequest": {"requestId": "x"}}`))
	p.sendBytes([]byte(`{"describeRequest": {"requestId": "d-1", "colour": "blue"}}`))
	next(p, "answer to describe", func(f *messages.AgentFrame) (bool, bool) {
		return true, f.GetDescribeResponse().GetRequestId() == "d-1"
	})
}

// C3: a host that changes its address becomes another server at once.
func TestAgent_ReconnectsWhenTheHostChangesItsAddress(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	h.config.Timing.Report = 5 * time.Millisecond
	moving := &movingHost{}
	moving.facts.Store(&messages.ServerFacts{Hostname: "h", Ip: "10.0.0.1"})
	h.config.Host = moving
	h.start(t)
	first := b.peer("the agent")
	moving.facts.Store(&messages.ServerFacts{Hostname: "h", Ip: "10.0.0.2"})
	second := b.peer("the agent at its new address")
	require.NotEqual(t, first.hello.GetServerId(), second.hello.GetServerId())
	require.Equal(t, first.hello.GetMachineId(), second.hello.GetMachineId())
}

type movingHost struct {
	facts atomic.Pointer[messages.ServerFacts]
}

func (m *movingHost) Facts(context.Context) *messages.ServerFacts { return m.facts.Load() }
func (m *movingHost) Load(context.Context) *messages.ServerLoad   { return &messages.ServerLoad{} }

// Contract section 3: the line that administrators grep for, and no secret in it.
func TestAgent_LogsBrokerMessagesWithoutSecrets(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	h := newHost(t, b)
	var log logBuffer
	h.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	h.start(t)
	p := b.peer("the agent")
	p.send(createFrame("r-1", "s-1", func(r *messages.CreateSessionRequest) {
		r.PermissionsFile = []byte("[permissions]\nsecret-user allow builtin")
		r.AutorunFile, r.AutorunFileArguments = "run.sh", []string{"--password=hunter2"}
	}))
	created(p, "r-1")
	p.sendBytes([]byte(`{"setPermissionsRequest": {"requestId": "x", "permissionsFile": "!hunter3!"}}`))
	p.sendBytes([]byte("{\"describeRequest\": {\"requestId\": \"line\\nfeed\"}}"))
	next(p, "describe", func(f *messages.AgentFrame) (bool, bool) { return true, f.GetDescribeResponse() != nil })
	text := log.String()
	require.Contains(t, text, "Processing broker message")
	require.Contains(t, text, "sessionsUpdateResponse")
	for _, secret := range []string{"hunter2", "hunter3", "W3Blcm1pc3Npb25z"} {
		require.NotContains(t, text, secret)
	}
}

func TestNew_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := agent.New(agent.Config{})
	require.ErrorContains(t, err, "no broker")
	_, err = agent.New(agent.Config{Brokers: []string{"b:1"}})
	require.ErrorContains(t, err, "required")
}

func TestStaticToken_IsWhatItSays(t *testing.T) {
	t.Parallel()
	token, err := agent.StaticToken("x").Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "x", token)
	require.Equal(t, messages.AgentFailed, driver.Code(errors.New("other")))
}
