package placement_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/actors/placement"
	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

const (
	virtual = messages.SessionType_SESSION_TYPE_VIRTUAL
	console = messages.SessionType_SESSION_TYPE_CONSOLE

	available   = messages.Availability_AVAILABILITY_AVAILABLE
	unavailable = messages.Availability_AVAILABILITY_UNAVAILABLE
)

// promise is one reservation that is not settled.
type promise struct {
	server, owner string
	kind          messages.SessionType
}

// model is placement as one would write it for ten servers: look at all of them.
type model struct {
	views   map[string]*messages.ServerView
	pending []promise
}

func (m *model) pendingOn(server string, kind messages.SessionType, owner string) (n int32) {
	for _, p := range m.pending {
		if p.server == server && p.kind == kind && (owner == "" || p.owner == owner) {
			n++
		}
	}
	return n
}

// judge gives the first criterion a server fails.
func (m *model) judge(v *messages.ServerView, req placement.Request) placement.Criterion {
	if !req.Requirements.Matches(v) {
		return placement.Requirements
	}
	if v.Availability != available {
		switch v.UnavailabilityReason {
		case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT:
			return placement.Unreachable
		case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNHEALTHY_DCV_SERVER:
			return placement.Unhealthy
		case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED:
			return placement.Closed
		case messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER:
			return placement.LoggedInUser
		case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL:
		default:
			return placement.StateUnknown
		}
	}
	facts := v.GetFacts()
	windows := facts.GetOs().GetFamily() == "windows"
	if req.Type == console {
		switch {
		case facts.GetMaxConsoleSessions() < 1:
			return placement.TypeNotOffered
		case v.ConsoleSessions+m.pendingOn(v.Id, console, "") >= 1:
			return placement.Full
		}
		return placement.Fits
	}
	limit, perOwner := facts.GetMaxVirtualSessions(), facts.GetMaxConcurrentSessionsPerUser()
	if windows || limit == 0 || perOwner == 0 {
		return placement.TypeNotOffered
	}
	taken := m.pendingOn(v.Id, virtual, "")
	for _, n := range v.VirtualByOwner {
		taken += n
	}
	if limit > 0 && taken >= limit {
		return placement.Full
	}
	if perOwner > 0 && v.VirtualByOwner[req.Owner]+m.pendingOn(v.Id, virtual, req.Owner) >= perOwner {
		return placement.OwnerLimit
	}
	return placement.Fits
}

// order is the documented ranking.
func (m *model) order(a, b *messages.ServerView) int {
	fill := func(v *messages.ServerView) float64 {
		capacity := float64(v.GetFacts().GetMaxVirtualSessions())
		if v.GetFacts().GetOs().GetFamily() == "windows" {
			capacity = 0
		}
		if capacity < 0 {
			capacity = cpus(v)
		}
		if v.GetFacts().GetMaxConsoleSessions() > 0 {
			capacity++
		}
		sessions := v.ConsoleSessions + v.VirtualSessions + m.pendingOn(v.Id, virtual, "") + m.pendingOn(v.Id, console, "")
		return float64(sessions) / max(1, capacity)
	}
	load := func(v *messages.ServerView) float64 { return float64(v.GetLoad().GetLoadOneMinute()) / cpus(v) }
	return cmp.Or(cmp.Compare(fill(a), fill(b)), cmp.Compare(load(a), load(b)), cmp.Compare(a.Id, b.Id))
}

func cpus(v *messages.ServerView) float64 {
	return max(1, float64(v.GetFacts().GetCpu().GetNumberOfCpus()))
}

func (m *model) pick(req placement.Request) (string, map[placement.Criterion]int) {
	counts := map[placement.Criterion]int{}
	var fit []*messages.ServerView
	for _, v := range m.views {
		c := m.judge(v, req)
		counts[c]++
		if c == placement.Fits {
			fit = append(fit, v)
		}
	}
	if len(fit) == 0 {
		return "", counts
	}
	slices.SortFunc(fit, func(a, b *messages.ServerView) int {
		x, y := slices.Contains(req.Avoid, a.Id), slices.Contains(req.Avoid, b.Id)
		if x != y {
			if x {
				return 1
			}
			return -1
		}
		return m.order(a, b)
	})
	return fit[0].Id, nil
}

func (m *model) settle(p promise) bool {
	at := slices.Index(m.pending, p)
	if at >= 0 {
		m.pending = slices.Delete(m.pending, at, at+1)
	}
	return at >= 0
}

func drawView(t *rapid.T, version int64) *messages.ServerView {
	v := &messages.ServerView{
		Id:                   fmt.Sprint("h-", rapid.IntRange(0, 11).Draw(t, "server")),
		Version:              version,
		Availability:         rapid.SampledFrom([]messages.Availability{available, available, unavailable}).Draw(t, "availability"),
		ConsoleSessions:      rapid.Int32Range(0, 1).Draw(t, "console"),
		VirtualByOwner:       rapid.MapOfN(rapid.SampledFrom([]string{"ann", "bob"}), rapid.Int32Range(1, 2), 0, 2).Draw(t, "owners"),
		UnavailabilityReason: messages.UnavailabilityReason(rapid.Int32Range(0, 6).Draw(t, "reason")),
	}
	for _, n := range v.VirtualByOwner {
		v.VirtualSessions += n
	}
	v.VirtualSessions += rapid.Int32Range(0, 1).Draw(t, "external")
	if rapid.IntRange(0, 9).Draw(t, "no facts") == 0 {
		return v
	}
	v.Load = &messages.ServerLoad{LoadOneMinute: float32(rapid.IntRange(0, 3).Draw(t, "load"))}
	v.Facts = &messages.ServerFacts{
		Hostname:                     fmt.Sprint("host-", rapid.IntRange(0, 3).Draw(t, "hostname")),
		Os:                           &messages.Os{Family: rapid.SampledFrom([]string{"linux", "linux", "windows"}).Draw(t, "family")},
		Cpu:                          &messages.Cpu{NumberOfCpus: rapid.Int32Range(0, 4).Draw(t, "cpus")},
		Tags:                         rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(t, "tags"),
		MaxVirtualSessions:           rapid.Int32Range(-1, 4).Draw(t, "max virtual"),
		MaxConcurrentSessionsPerUser: rapid.Int32Range(-1, 2).Draw(t, "max per user"),
		MaxConsoleSessions:           rapid.Int32Range(0, 2).Draw(t, "max console"),
	}
	return v
}

func drawRequest(t *rapid.T) placement.Request {
	text := rapid.SampledFrom([]string{
		"", "tag:a = 'x'", "tag:a = 'x' and tag:b = 'y'", "tag:a != 'x'", "not tag:a = 'y'",
		"server:Host.CpuInfo.NumberOfCpus > 1", "server:Host.CpuLoadAverage.OneMinute < 2",
		"server:Id = 'h-3'", "server:Hostname = 'host-1' or tag:b = 'x'", "tag:dcv:os-family = 'linux'", "tag:none = '1'",
	}).Draw(t, "requirements")
	expr, err := requirements.Parse(text)
	require.NoError(t, err)
	return placement.Request{
		Owner:        rapid.SampledFrom([]string{"ann", "bob", "eve"}).Draw(t, "owner"),
		Type:         rapid.SampledFrom([]messages.SessionType{virtual, virtual, console}).Draw(t, "type"),
		Requirements: expr,
		Avoid:        rapid.SliceOfN(rapid.SampledFrom([]string{"h-0", "h-1", "h-2", "gone"}), 0, 2).Draw(t, "avoid"),
	}
}

// C11, C22, N1: whatever happened, a pick is what looking at every server would
// give: the same server, or the same reasons. It never chooses a server that is
// closed, full, unreachable or does not match, and asking does not change the answer.
func TestIndex_AgreesWithLookingAtEveryServer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ix := placement.NewIndex()
		m := &model{views: map[string]*messages.ServerView{}}
		version := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				version++
				v := drawView(t, version)
				require.True(t, ix.Put(v))
				require.False(t, ix.Put(v), "the same version again")
				m.views[v.Id] = v
			},
			"remove": func(t *rapid.T) {
				id := fmt.Sprint("h-", rapid.IntRange(0, 11).Draw(t, "server"))
				ix.Remove(id)
				delete(m.views, id)
				m.pending = slices.DeleteFunc(m.pending, func(p promise) bool { return p.server == id })
			},
			"pick and reserve": func(t *rapid.T) {
				req := drawRequest(t)
				id := checkPick(t, ix, m, req)
				if id != "" {
					ix.Reserve(id, req.Owner, req.Type)
					m.pending = append(m.pending, promise{id, req.Owner, req.Type})
				}
			},
			"settle": func(t *rapid.T) {
				if len(m.pending) == 0 {
					t.Skip("nothing is pending")
				}
				p := rapid.SampledFrom(m.pending).Draw(t, "promise")
				m.settle(p)
				var v *messages.ServerView
				if rapid.Bool().Draw(t, "with a picture") {
					version++
					v = drawView(t, version)
					v.Id = p.server
					m.views[v.Id] = v
				}
				ix.Settle(p.server, p.owner, p.kind, v)
			},
			"": func(t *rapid.T) { checkPick(t, ix, m, drawRequest(t)) },
		})
		// Pending counts never leak: once all is settled, nothing is pending.
		for _, p := range slices.Clone(m.pending) {
			m.settle(p)
			ix.Settle(p.server, p.owner, p.kind, nil)
			ix.Settle(p.server, "nobody", virtual, nil)
		}
		for range 5 {
			checkPick(t, ix, m, drawRequest(t))
		}
		require.Equal(t, len(m.views), ix.Len())
	})
}

func checkPick(t *rapid.T, ix *placement.Index, m *model, req placement.Request) string {
	want, counts := m.pick(req)
	got, refused := ix.Pick(req)
	require.Equal(t, want, got)
	again, _ := ix.Pick(req)
	require.Equal(t, got, again, "same question, same answer")
	require.Equal(t, got == "", refused != nil)
	if refused != nil {
		for c := placement.Requirements; c <= placement.OwnerLimit; c++ {
			require.Equal(t, counts[c], refused.Count(c), c.String())
		}
	}
	for id, v := range m.views {
		verdict, known := ix.Judge(id, req)
		require.True(t, known)
		require.Equal(t, m.judge(v, req), verdict.Criterion)
	}
	return got
}
