package actors

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// host is a DCV host with its agent, as far as a broker can tell.
type host struct {
	w        *world
	id       string
	machine  string
	client   string
	instance string
	boot     string
	facts    *messages.ServerFacts

	mu       sync.Mutex
	link     *Link
	sessions map[string]*messages.DcvSession
	sequence int64
	creates  int
	answers  map[string]*messages.CreateSessionResponse // by request id: agents do nothing twice
	socket   *hostSocket
	fail     string // code with which creates fail
	silent   bool   // commands are taken and never answered
	mute     bool   // commands are done and never answered
	gate     bool   // the agent keeps its limits, as real ones do
	closed   chan struct{}
	most     int // most sessions at once
}

var instances atomic.Int64

func (w *world) host(id string, change ...func(*messages.ServerFacts)) *host {
	h := &host{w: w, id: id, machine: "machine-" + id, client: "client-1", boot: "boot-1", sessions: map[string]*messages.DcvSession{},
		facts: &messages.ServerFacts{Hostname: id, Ip: "10.0.0.1", Os: &messages.Os{Family: "linux"}, MaxVirtualSessions: -1,
			MaxConcurrentSessionsPerUser: -1, MaxConsoleSessions: 1, Cpu: &messages.Cpu{NumberOfCpus: 2}, Tags: map[string]string{"host": id}}}
	for _, c := range change {
		c(h.facts)
	}
	h.restartAgent()
	return h
}

func limited(sessions, perUser int32) func(*messages.ServerFacts) {
	return func(f *messages.ServerFacts) {
		f.MaxVirtualSessions, f.MaxConcurrentSessionsPerUser = sessions, perUser
	}
}

func (h *host) restartAgent() {
	h.instance, h.answers = fmt.Sprint("instance-", instances.Add(1)), map[string]*messages.CreateSessionResponse{}
}

// connect says hello and, if welcome, reports.
func (h *host) connect() *host {
	h.w.t.Helper()
	require.True(h.w.t, h.hello().GetResult().GetSuccess())
	h.report()
	h.w.awaitServer(h.id, "to be reachable", (*messages.ServerView).GetReachable)
	return h
}

func (h *host) hello() *messages.HelloResponse {
	h.w.t.Helper()
	return <-h.dial().welcome
}

// dial opens a socket and says hello, without waiting for what comes of it.
func (h *host) dial() *hostSocket {
	h.w.t.Helper()
	socket := &hostSocket{host: h, closed: make(chan struct{}), welcome: make(chan *messages.HelloResponse, 1)}
	link, err := NewLinks(h.w.deps).Attach(socket, h.client)
	require.NoError(h.w.t, err)
	socket.link.Store(link)
	h.mu.Lock()
	h.closed, h.socket, h.link = socket.closed, socket, link
	hello := &messages.HelloRequest{RequestId: newRequestID(), ProtocolVersion: &messages.ProtocolVersion{Major: 1}, ServerId: h.id,
		MachineId: h.machine, BootId: h.boot, InstanceId: h.instance, Facts: h.facts, Load: &messages.ServerLoad{DcvHealthy: true}}
	h.mu.Unlock()
	link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: hello}})
	return socket
}

// disconnect loses the socket as a network does.
func (h *host) disconnect() {
	h.mu.Lock()
	link := h.link
	h.link, h.socket = nil, nil
	h.mu.Unlock()
	if link != nil {
		link.Closed("test")
	}
}

func (h *host) report() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reportLocked()
}

func (h *host) reportLocked() {
	r := &messages.SessionsUpdateRequest{RequestId: newRequestID(), AsOf: h.sequence, Facts: h.facts, Load: &messages.ServerLoad{DcvHealthy: true}}
	for _, s := range h.sessions {
		r.Sessions = append(r.Sessions, s)
	}
	if h.link != nil {
		h.link.Received(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: r}})
	}
}

// start makes a session on the host without the broker.
func (h *host) start(id, owner, kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[id] = &messages.DcvSession{Id: id, Owner: owner, Type: kind, Status: "created"}
}

func (h *host) lose(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, id)
}

func (h *host) running() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for id := range h.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (h *host) set(change func(*host)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// hostSocket is the broker's end of the wire.
type hostSocket struct {
	host    *host
	link    atomic.Pointer[Link]
	once    sync.Once
	closed  chan struct{}
	welcome chan *messages.HelloResponse
}

func (s *hostSocket) RemoteAddr() string { return "test" }

func (s *hostSocket) Close(int, string) {
	s.once.Do(func() {
		close(s.closed)
		s.host.set(func(h *host) {
			if h.socket == s { // the agent sees that, also long after its welcome
				h.link = nil
			}
		})
		s.link.Load().Closed("closed by the broker")
	})
}

func (s *hostSocket) Send(frame *messages.AgentFrame) error {
	if hello := frame.GetHelloResponse(); hello != nil {
		s.welcome <- hello
		return nil
	}
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if s != h.socket {
		return errors.New("the network lost this connection")
	}
	if h.silent {
		return nil
	}
	if frame.GetSessionsUpdateResponse() != nil {
		return nil
	}
	h.sequence++
	answer := h.do(frame)
	if answer != nil && !h.mute {
		s.link.Load().Received(answer)
	}
	return nil
}

// do is the agent doing what it is told.
func (h *host) do(frame *messages.AgentFrame) *messages.AgentFrame {
	ok := &messages.Result{Success: true}
	switch b := frame.GetBody().(type) {
	case *messages.AgentFrame_CreateSessionRequest:
		return &messages.AgentFrame{Body: &messages.AgentFrame_CreateSessionResponse{CreateSessionResponse: h.create(b.CreateSessionRequest)}}
	case *messages.AgentFrame_DeleteSessionRequest:
		delete(h.sessions, b.DeleteSessionRequest.GetSessionId())
		return &messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionResponse{DeleteSessionResponse: &messages.DeleteSessionResponse{
			RequestId: b.DeleteSessionRequest.GetRequestId(), Sequence: h.sequence, Result: ok}}}
	case *messages.AgentFrame_DescribeRequest:
		h.reportLocked()
		return &messages.AgentFrame{Body: &messages.AgentFrame_DescribeResponse{DescribeResponse: &messages.DescribeResponse{
			RequestId: b.DescribeRequest.GetRequestId(), Sequence: h.sequence, Result: ok}}}
	case *messages.AgentFrame_SetPermissionsRequest:
		return &messages.AgentFrame{Body: &messages.AgentFrame_SetPermissionsResponse{SetPermissionsResponse: &messages.SetPermissionsResponse{
			RequestId: b.SetPermissionsRequest.GetRequestId(), Sequence: h.sequence, Result: ok}}}
	case *messages.AgentFrame_ScreenshotRequest:
		return &messages.AgentFrame{Body: &messages.AgentFrame_ScreenshotResponse{ScreenshotResponse: &messages.ScreenshotResponse{
			RequestId: b.ScreenshotRequest.GetRequestId(), Sequence: h.sequence, Result: ok,
			Images: []*messages.ScreenshotImage{{Format: "png", Data: []byte(b.ScreenshotRequest.GetSessionId())}}}}}
	default:
		return nil
	}
}

func (h *host) create(r *messages.CreateSessionRequest) *messages.CreateSessionResponse {
	if answer := h.answers[r.GetRequestId()]; answer != nil {
		return answer
	}
	h.creates++
	answer := &messages.CreateSessionResponse{RequestId: r.GetRequestId(), Sequence: h.sequence, Result: &messages.Result{Success: true}}
	h.answers[r.GetRequestId()] = answer
	switch {
	case h.sessions[r.GetSessionId()] != nil: // creating what exists succeeds
	case h.fail != "":
		answer.Result = &messages.Result{Code: h.fail, Error: "as told"}
		return answer
	case h.gate && h.full(r.GetOwner()):
		answer.Result = &messages.Result{Code: messages.AgentLimitReached, Error: "full"}
		return answer
	default:
		h.sessions[r.GetSessionId()] = &messages.DcvSession{Id: r.GetSessionId(), Owner: r.GetOwner(), Name: r.GetName(), Type: r.GetType(), Status: "created"}
		h.most = max(h.most, len(h.sessions))
	}
	answer.Session = h.sessions[r.GetSessionId()]
	return answer
}

func (h *host) full(owner string) bool {
	all, his := int32(0), int32(0)
	for _, s := range h.sessions {
		if s.GetType() == "virtual" {
			all++
			if s.GetOwner() == owner {
				his++
			}
		}
	}
	most, perUser := h.facts.GetMaxVirtualSessions(), h.facts.GetMaxConcurrentSessionsPerUser()
	return most >= 0 && all >= most || perUser >= 0 && his >= perUser
}
