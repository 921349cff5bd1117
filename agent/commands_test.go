package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/agent"
	"opensessionmanager/agent/driver"
	"opensessionmanager/agent/driver/fake"
	"opensessionmanager/messages"
)

func createFrame(requestID, sessionID string, change ...func(*messages.CreateSessionRequest)) *messages.AgentFrame {
	r := &messages.CreateSessionRequest{
		RequestId: requestID, SessionId: sessionID, Name: "my session", Owner: "alice", Type: "virtual"}
	for _, c := range change {
		c(r)
	}
	return &messages.AgentFrame{Body: &messages.AgentFrame_CreateSessionRequest{CreateSessionRequest: r}}
}

func deleteFrame(requestID, sessionID string) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_DeleteSessionRequest{
		DeleteSessionRequest: &messages.DeleteSessionRequest{RequestId: requestID, SessionId: sessionID}}}
}

func permissionsFrame(requestID, sessionID, file string) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_SetPermissionsRequest{
		SetPermissionsRequest: &messages.SetPermissionsRequest{
			RequestId: requestID, SessionId: sessionID, PermissionsFile: []byte(file)}}}
}

func screenshotFrame(requestID, sessionID, format string) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_ScreenshotRequest{
		ScreenshotRequest: &messages.ScreenshotRequest{
			RequestId: requestID, SessionId: sessionID, MaxWidth: 8, MaxHeight: 8, Format: format}}}
}

func created(p *peer, requestID string) *messages.CreateSessionResponse {
	p.t.Helper()
	return next(p, "answer to create "+requestID, func(f *messages.AgentFrame) (*messages.CreateSessionResponse, bool) {
		r := f.GetCreateSessionResponse()
		return r, r.GetRequestId() == requestID
	})
}

func deleted(p *peer, requestID string) *messages.DeleteSessionResponse {
	p.t.Helper()
	return next(p, "answer to delete "+requestID, func(f *messages.AgentFrame) (*messages.DeleteSessionResponse, bool) {
		r := f.GetDeleteSessionResponse()
		return r, r.GetRequestId() == requestID
	})
}

func startOne(t *testing.T, change ...func(*host)) (*host, *broker, *peer) {
	t.Helper()
	b := newBroker(t)
	h := newHost(t, b)
	for _, c := range change {
		c(h)
	}
	h.start(t)
	return h, b, b.peer("the agent")
}

func TestCommands_CreateShowDelete(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t)
	p.send(createFrame("r-1", "s-1"))
	answer := created(p, "r-1")
	require.True(t, answer.GetResult().GetSuccess(), answer.GetResult().GetError())
	require.Equal(t, "alice", answer.GetSession().GetOwner())
	require.Equal(t, int64(1), answer.GetSequence())

	report := p.report("with the session", func(r *messages.SessionsUpdateRequest) bool { return len(r.GetSessions()) == 1 })
	require.Equal(t, int64(1), report.GetAsOf(), "the report knows of the reply")

	p.send(permissionsFrame("r-2", "s-1", "[permissions]\n%any% allow builtin\n"))
	set := next(p, "permissions", func(f *messages.AgentFrame) (*messages.SetPermissionsResponse, bool) {
		return f.GetSetPermissionsResponse(), f.GetSetPermissionsResponse() != nil
	})
	require.True(t, set.GetResult().GetSuccess())
	require.Contains(t, string(h.driver.Permissions("s-1")), "%any% allow builtin")

	p.send(deleteFrame("r-3", "s-1"))
	gone := deleted(p, "r-3")
	require.True(t, gone.GetResult().GetSuccess())
	require.Equal(t, int64(3), gone.GetSequence())
	p.report("without the session", func(r *messages.SessionsUpdateRequest) bool { return len(r.GetSessions()) == 0 && r.GetAsOf() >= 3 })
}

// F14: the same request twice is one effect and the same answer, also on another
// connection.
func TestCommands_RepeatedRequestIsAnsweredNotRepeated(t *testing.T) {
	t.Parallel()
	h, b, p := startOne(t)
	p.send(createFrame("r-1", "s-1"))
	first := created(p, "r-1")
	p.send(deleteFrame("r-2", "s-1"))
	deleted(p, "r-2")
	p.send(createFrame("r-1", "s-1")) // reordered: it must not come back to life
	second := created(p, "r-1")
	require.True(t, proto.Equal(first, second))
	require.Zero(t, h.driver.Count())
	_ = p.conn.Close()
	p = b.peer("the agent again")
	p.send(createFrame("r-1", "s-1"))
	require.True(t, proto.Equal(first, created(p, "r-1")))
	require.Equal(t, 1, h.driver.Creates())
}

func TestCommands_RepeatedWhileWorkedOnRunsOnce(t *testing.T) {
	t.Parallel()
	h, b, p := startOne(t, func(h *host) { h.driver.SetFaults(fake.Faults{StartDelay: 200 * time.Millisecond}) })
	p.send(createFrame("r-1", "s-1"))
	p.send(createFrame("r-1", "s-1"))
	require.Eventually(t, func() bool { return h.driver.Creates() == 1 }, patience, time.Millisecond, "the create must begin")
	_ = p.conn.Close() // the answer goes to whoever is there when it is ready
	p = b.peer("the agent again")
	p.send(createFrame("r-1", "s-1"))
	require.True(t, created(p, "r-1").GetResult().GetSuccess())
	require.Equal(t, 1, h.driver.Creates())
}

func TestCommands_CreateOfAnExistingSessionSucceeds(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t)
	h.driver.Put(&messages.DcvSession{Id: "s-1", Owner: `CORP\alice`, Type: "virtual"})
	h.driver.Put(&messages.DcvSession{Id: "s-2", Owner: "bob", Type: "virtual"})
	p.send(createFrame("r-1", "s-1"))
	require.True(t, created(p, "r-1").GetResult().GetSuccess())
	p.send(createFrame("r-2", "s-2"))
	require.Equal(t, messages.AgentFailed, created(p, "r-2").GetResult().GetCode(), "somebody else's session is not ours")
	require.Zero(t, h.driver.Creates())
}

func TestCommands_DeleteOfAnAbsentSessionSucceeds(t *testing.T) {
	t.Parallel()
	_, _, p := startOne(t)
	p.send(deleteFrame("r-1", "never-there"))
	require.True(t, deleted(p, "r-1").GetResult().GetSuccess())
}

// C5: create right after boot, while dcvserver starts.
func TestCommands_CreateWaitsForTheServer(t *testing.T) {
	t.Parallel()
	_, _, p := startOne(t, func(h *host) { h.driver.SetFaults(fake.Faults{NotRunning: 2}) })
	p.send(createFrame("r-1", "s-1"))
	require.True(t, created(p, "r-1").GetResult().GetSuccess())
}

func TestCommands_CreateGivesUpOnADeadServer(t *testing.T) {
	t.Parallel()
	_, _, p := startOne(t, func(h *host) {
		h.driver.SetFaults(fake.Faults{Unhealthy: true})
		h.config.Timing.Ready = time.Millisecond
	})
	p.send(createFrame("r-1", "s-1"))
	require.Equal(t, messages.AgentDCVNotRunning, created(p, "r-1").GetResult().GetCode())
}

func TestCommands_TimeoutIsResolvedByLooking(t *testing.T) {
	t.Parallel()
	_, _, p := startOne(t, func(h *host) { h.driver.SetFaults(fake.Faults{LateStart: true}) })
	p.send(createFrame("r-1", "s-1"))
	require.True(t, created(p, "r-1").GetResult().GetSuccess())
}

func TestCommands_StalledServerTimesOut(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t, func(h *host) {
		h.config.Timing.Create, h.config.Timing.Command, h.config.Timing.List = time.Millisecond, time.Millisecond, time.Millisecond
	})
	h.driver.SetFaults(fake.Faults{Stall: true})
	p.send(createFrame("r-1", "s-1"))
	require.Equal(t, messages.AgentTimeout, created(p, "r-1").GetResult().GetCode())
	p.send(deleteFrame("r-2", "s-1"))
	require.Equal(t, messages.AgentTimeout, deleted(p, "r-2").GetResult().GetCode())
}

// A slow session must not hold up another one, and commands of one session keep
// their order.
func TestCommands_SessionsDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t, func(h *host) { h.driver.SetFaults(fake.Faults{StartDelay: 100 * time.Millisecond}) })
	p.send(createFrame("slow", "s-1"))
	p.send(deleteFrame("after-slow", "s-1"))
	p.send(deleteFrame("other", "s-2"))
	var order []string
	for len(order) < 3 {
		order = append(order, next(p, "an answer", func(f *messages.AgentFrame) (string, bool) {
			id := f.GetCreateSessionResponse().GetRequestId() + f.GetDeleteSessionResponse().GetRequestId()
			return id, id != ""
		}))
	}
	require.Equal(t, []string{"other", "slow", "after-slow"}, order)
	require.Zero(t, h.driver.Count())
}

func TestCommands_FailuresHaveCodes(t *testing.T) {
	t.Parallel()
	for err, code := range map[error]string{
		driver.ErrOwnerUnknown: messages.AgentOwnerUnknown,
		driver.ErrBadFile:      messages.AgentBadFile,
		driver.ErrUnsupported:  messages.AgentUnsupported,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			_, _, p := startOne(t, func(h *host) { h.driver.SetFaults(fake.Faults{FailCreates: 1, CreateError: err}) })
			p.send(createFrame("r-1", "s-1"))
			require.Equal(t, code, created(p, "r-1").GetResult().GetCode())
		})
	}
}

// F45: real pictures, and a failure of its own for each request.
func TestCommands_Screenshots(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t)
	h.driver.Put(&messages.DcvSession{Id: "s-1", Type: "virtual"})
	shot := func(id, session, format string) *messages.ScreenshotResponse {
		p.send(screenshotFrame(id, session, format))
		return next(p, "screenshot", func(f *messages.AgentFrame) (*messages.ScreenshotResponse, bool) {
			return f.GetScreenshotResponse(), f.GetScreenshotResponse().GetRequestId() == id
		})
	}
	png := shot("r-1", "s-1", "png")
	require.Equal(t, "\x89PNG", string(png.GetImages()[0].GetData()[:4]))
	require.True(t, png.GetImages()[0].GetPrimary())
	require.Equal(t, "\xff\xd8", string(shot("r-2", "s-1", "jpeg").GetImages()[0].GetData()[:2]))
	require.Equal(t, messages.AgentNotFound, shot("r-3", "s-2", "png").GetResult().GetCode())
	require.Equal(t, messages.AgentUnsupported, shot("r-4", "s-1", "gif").GetResult().GetCode())
}

// Describe: the report comes first, on the same connection.
func TestCommands_DescribeReportsThenAnswers(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t)
	p.report("first", func(*messages.SessionsUpdateRequest) bool { return true })
	h.driver.Put(&messages.DcvSession{Id: "s-1", Type: "virtual"})
	p.send(&messages.AgentFrame{Body: &messages.AgentFrame_DescribeRequest{DescribeRequest: &messages.DescribeRequest{RequestId: "d"}}})
	p.report("with the session", func(r *messages.SessionsUpdateRequest) bool { return len(r.GetSessions()) == 1 })
	require.True(t, next(p, "describe", func(f *messages.AgentFrame) (bool, bool) {
		return f.GetDescribeResponse().GetResult().GetSuccess(), f.GetDescribeResponse() != nil
	}))
}

// F29, F30, F31: what must never reach dcv.
func TestCommands_HostileRequestsAreRefused(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t)
	clients := int32(0)
	for i, hostile := range []struct {
		code   string
		change func(*messages.CreateSessionRequest)
	}{
		{messages.AgentOwnerUnknown, func(r *messages.CreateSessionRequest) { r.Owner = "-rf" }},
		{messages.AgentOwnerUnknown, func(r *messages.CreateSessionRequest) { r.Owner = "a\nb" }},
		{messages.AgentOwnerUnknown, func(r *messages.CreateSessionRequest) { r.Owner = "" }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.Name = "a\x00b" }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.Name = strings.Repeat("n", 257) }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.SessionId = "--help" }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.SessionId = "" }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.StorageRoot = "%home%/../other" }},
		{messages.AgentUnsupported, func(r *messages.CreateSessionRequest) { r.Type = "VIRTUAL" }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.AutorunFileArguments = []string{"x"} }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.MaxConcurrentClients = &clients }},
		{messages.AgentBadRequest, func(r *messages.CreateSessionRequest) { r.PermissionsFile = make([]byte, 2<<20) }},
	} {
		id := fmt.Sprintf("r-%d", i)
		p.send(createFrame(id, "s-1", hostile.change))
		require.Equal(t, hostile.code, created(p, id).GetResult().GetCode(), "case %d", i)
	}
	p.send(createFrame(strings.Repeat("r", 65), "s-1"))
	require.Equal(t, messages.AgentBadRequest, created(p, strings.Repeat("r", 65)).GetResult().GetCode())
	for _, junk := range []string{"", "{", `[]`, `{"a":1,"b":2}`, `{"createSessionRequest":null}`, strings.Repeat("[", 100_000), "\xff\xfe"} {
		p.sendBytes([]byte(junk))
	}
	p.send(deleteFrame("alive", "s-1"))
	require.True(t, deleted(p, "alive").GetResult().GetSuccess(), "the connection survives junk")
	require.Zero(t, h.driver.Creates())
}

// The agent is the last gate: parallel creates of several brokers cannot
// over-commit it.
func TestCommands_LimitsHoldUnderParallelCreates(t *testing.T) {
	t.Parallel()
	h, _, p := startOne(t, func(h *host) {
		h.config.Limits = agent.Limits{MaxVirtual: 3, MaxPerUser: 2, MaxConsole: 1}
		h.driver.SetFaults(fake.Faults{StartDelay: 5 * time.Millisecond})
	})
	h.driver.Put(&messages.DcvSession{Id: "by-hand", Owner: "alice", Type: "virtual"})
	const each = 10
	for i := range each {
		for _, owner := range []string{"alice", "bob"} {
			p.send(createFrame(fmt.Sprint(owner, i), fmt.Sprint("v-", owner, i), func(r *messages.CreateSessionRequest) { r.Owner = owner }))
		}
		p.send(createFrame(fmt.Sprint("console", i), fmt.Sprint("c-", i), func(r *messages.CreateSessionRequest) { r.Type = "console" }))
	}
	for range 3 * each {
		answer := next(p, "an answer", func(f *messages.AgentFrame) (*messages.CreateSessionResponse, bool) {
			return f.GetCreateSessionResponse(), f.GetCreateSessionResponse() != nil
		})
		if !answer.GetResult().GetSuccess() {
			require.Equal(t, messages.AgentLimitReached, answer.GetResult().GetCode())
		}
	}
	sessions, err := h.driver.List(t.Context())
	require.NoError(t, err)
	count := map[string]int{}
	for _, s := range sessions {
		if s.GetId() == "by-hand" {
			continue // made on the host: it uses up nobody's allowance (contract section 4)
		}
		count[s.GetType()]++
		count[s.GetType()+s.GetOwner()]++
	}
	require.Equal(t, 3, count["virtual"])
	require.Equal(t, 1, count["console"])
	require.LessOrEqual(t, count["virtualalice"], 2)
	require.LessOrEqual(t, count["virtualbob"], 2)
}
