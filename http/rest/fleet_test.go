package rest

import (
	"bytes"
	"context"
	"sync"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// fakeFleet is a small broker in memory: it keeps what it is told and checks
// owners and digests as grains do.
type fakeFleet struct {
	mu      sync.Mutex
	builder *roster.Builder
	digests map[string][]byte
	version int64

	// refusal answers everything, if it is set.
	refusal *messages.Refusal
	// perItem answers items of CreateSessions by name.
	perItem map[string]*messages.Refusal
	// image is the screenshot of every session; asked lists the batches.
	image []byte
	asked [][]*messages.TakeScreenshot
	// created, permissions: what arrived.
	created     []*messages.CreateSession
	permissions []*messages.UpdateSessionPermissions
	// short makes every list of results empty, which a Fleet must not do.
	short bool
}

func newFakeFleet() *fakeFleet {
	return &fakeFleet{builder: roster.NewBuilder(), digests: make(map[string][]byte)}
}

func (f *fakeFleet) putSession(v *messages.SessionView) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(v)
}

func (f *fakeFleet) put(v *messages.SessionView) {
	f.version++
	v.Version = f.version
	f.builder.PutSession(v)
}

func (f *fakeFleet) putServer(v *messages.ServerView) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	v.Version = f.version
	f.builder.PutServer(v)
}

func (f *fakeFleet) removeSession(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.builder.RemoveSession(id)
}

func (f *fakeFleet) Snapshot() (*roster.Snapshot, *messages.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal != nil {
		return nil, f.refusal
	}
	return f.builder.Snapshot(), nil
}

// each answers a list item by item.
func each[C any](f *fakeFleet, commands []C, do func(C) *messages.SessionResult) []*messages.SessionResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.short {
		return nil
	}
	results := make([]*messages.SessionResult, 0, len(commands))
	for _, command := range commands {
		if f.refusal != nil {
			results = append(results, refusedResult(f.refusal))
			continue
		}
		results = append(results, do(command))
	}
	return results
}

func refusedResult(r *messages.Refusal) *messages.SessionResult {
	return &messages.SessionResult{Outcome: &messages.SessionResult_Refusal{Refusal: r}}
}

func sessionResult(v *messages.SessionView) *messages.SessionResult {
	return &messages.SessionResult{Outcome: &messages.SessionResult_Session{Session: v}}
}

func (f *fakeFleet) CreateSessions(_ context.Context, commands []*messages.CreateSession) []*messages.SessionResult {
	return each(f, commands, func(m *messages.CreateSession) *messages.SessionResult {
		f.created = append(f.created, m)
		if r := f.perItem[m.Spec.Name]; r != nil {
			return refusedResult(r)
		}
		if known, ok := f.builder.Snapshot().Session(m.SessionId); ok {
			if !bytes.Equal(f.digests[m.SessionId], m.RequestDigest) {
				return refusedResult(&messages.Refusal{Code: messages.CodeKeyReused})
			}
			return sessionResult(known.View)
		}
		f.digests[m.SessionId] = m.RequestDigest
		view := &messages.SessionView{
			Id: m.SessionId, DcvId: m.SessionId, Name: m.Spec.Name, Owner: m.Spec.Owner, Type: m.Spec.Type,
			State:          messages.SessionState_SESSION_STATE_CREATING,
			Substate:       messages.SessionSubstate_SESSION_SUBSTATE_PLACING,
			CreationUnixMs: 1_600_000_000_000 + f.version,
		}
		f.put(view)
		return sessionResult(view)
	})
}

// owned finds a session as its owner sees it.
func (f *fakeFleet) owned(id, owner string) (*messages.SessionView, *messages.SessionResult) {
	session, ok := f.builder.Snapshot().Session(id)
	if !ok || session.View.Owner != owner {
		return nil, refusedResult(&messages.Refusal{Code: messages.CodeSessionNotFound})
	}
	return session.View, nil
}

func (f *fakeFleet) DeleteSessions(_ context.Context, commands []*messages.DeleteSession) []*messages.SessionResult {
	return each(f, commands, func(m *messages.DeleteSession) *messages.SessionResult {
		view, no := f.owned(m.SessionId, m.Owner)
		if no != nil {
			return no
		}
		f.builder.RemoveSession(m.SessionId)
		return sessionResult(view)
	})
}

func (f *fakeFleet) UpdateSessionPermissions(_ context.Context, commands []*messages.UpdateSessionPermissions) []*messages.SessionResult {
	return each(f, commands, func(m *messages.UpdateSessionPermissions) *messages.SessionResult {
		f.permissions = append(f.permissions, m)
		view, no := f.owned(m.SessionId, m.Owner)
		if no != nil {
			return no
		}
		return sessionResult(view)
	})
}

func (f *fakeFleet) TakeScreenshots(_ context.Context, commands []*messages.TakeScreenshot) []*messages.SessionResult {
	f.mu.Lock()
	f.asked = append(f.asked, commands)
	f.mu.Unlock()
	return each(f, commands, func(m *messages.TakeScreenshot) *messages.SessionResult {
		if _, ok := f.builder.Snapshot().Session(m.SessionId); !ok {
			return refusedResult(&messages.Refusal{Code: messages.CodeSessionNotFound})
		}
		return &messages.SessionResult{Outcome: &messages.SessionResult_Screenshot{Screenshot: &messages.Screenshot{
			Images: []*messages.ScreenshotImage{{
				Format: m.Format, Data: f.image, CreationUnixMs: 1_600_000_000_123, Primary: true,
			}},
		}}}
	})
}

func (f *fakeFleet) server(id string, allowed func(*messages.ServerView) bool) *messages.ServerResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	server, ok := f.builder.Snapshot().Server(id)
	refusal := f.refusal
	switch {
	case refusal != nil:
	case !ok:
		refusal = &messages.Refusal{Code: messages.CodeServerNotFound}
	case !allowed(server.View):
		refusal = &messages.Refusal{Code: messages.CodeServerHasSessions}
	default:
		return &messages.ServerResult{Outcome: &messages.ServerResult_Server{Server: server.View}}
	}
	return &messages.ServerResult{Outcome: &messages.ServerResult_Refusal{Refusal: refusal}}
}

func (f *fakeFleet) OpenServers(_ context.Context, commands []*messages.OpenServer) (results []*messages.ServerResult) {
	for _, m := range commands {
		results = append(results, f.server(m.ServerId, func(*messages.ServerView) bool { return true }))
	}
	return results
}

func (f *fakeFleet) CloseServers(_ context.Context, commands []*messages.CloseServer) (results []*messages.ServerResult) {
	for _, m := range commands {
		results = append(results, f.server(m.ServerId, func(v *messages.ServerView) bool {
			return m.Force || v.VirtualSessions+v.ConsoleSessions == 0
		}))
	}
	return results
}

func linuxServer(id string) *messages.ServerView {
	return &messages.ServerView{
		Id: id, MachineId: "m-" + id,
		Facts: &messages.ServerFacts{
			Hostname: "host-" + id, Ip: "10.0.0.1", DefaultDnsName: "host-" + id + ".internal",
			Endpoints: []*messages.Endpoint{
				{IpAddress: "10.0.0.1", Port: 8443, WebUrlPath: "/", Protocol: "HTTP"},
				{IpAddress: "10.0.0.1", Port: 8443, WebUrlPath: "/", Protocol: "QUIC"},
			},
			WebUrlPath: "/", DcvVersion: "2025.0.20000", AgentVersion: "1.0.0",
			Os:               &messages.Os{Family: "linux", Name: "Amazon Linux", Version: "2", KernelVersion: "4.14.203-156.332.amzn2.x86_64"},
			Cpu:              &messages.Cpu{Vendor: "GenuineIntel", ModelName: "Intel(R) Xeon(R)", Architecture: "x86_64", NumberOfCpus: 8, PhysicalCoresPerCpu: 4},
			Aws:              &messages.Aws{Region: "us-west-2b", Ec2InstanceType: "t2.xlarge", Ec2InstanceId: "i-0123", Ec2ImageId: "ami-0123"},
			Gpus:             []*messages.Gpu{{Vendor: "NVIDIA Corporation", ModelName: "GM204GL [Tesla M60]"}},
			MemoryTotalBytes: 16 << 30, SwapTotalBytes: 1 << 30,
			Tags:               map[string]string{"color": "pink"},
			MaxVirtualSessions: -1, MaxConcurrentSessionsPerUser: 1, MaxConsoleSessions: 1,
		},
		Load: &messages.ServerLoad{
			MemoryUsedBytes: 1 << 30, LoadOneMinute: 0.25, LoadFiveMinutes: 1.1, LoadFifteenMinutes: 3,
			LoggedInUsers: []string{"ubuntu"}, DcvHealthy: true,
		},
		Availability: messages.Availability_AVAILABILITY_AVAILABLE, Reachable: true,
	}
}

func readySession(id, owner, server string) *messages.SessionView {
	return &messages.SessionView{
		Id: id, DcvId: id, Name: "desk of " + owner, Owner: owner, ServerId: server,
		Type:           messages.SessionType_SESSION_TYPE_VIRTUAL,
		State:          messages.SessionState_SESSION_STATE_READY,
		CreationUnixMs: 1_601_979_331_633,
	}
}
