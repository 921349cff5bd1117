package placement_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/placement"
	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

func linux(id int, tags map[string]string) *messages.ServerView {
	return &messages.ServerView{
		Id: fmt.Sprintf("h-%05d", id), Version: 1, Availability: available, Reachable: true,
		Facts: &messages.ServerFacts{
			Hostname: fmt.Sprintf("host-%05d", id), Tags: tags,
			Os: &messages.Os{Family: "linux"}, Cpu: &messages.Cpu{NumberOfCpus: 4},
			MaxVirtualSessions: 10, MaxConcurrentSessionsPerUser: 1, MaxConsoleSessions: 1,
		},
		Load: &messages.ServerLoad{DcvHealthy: true},
	}
}

func parse(t testing.TB, text string) *requirements.Expr {
	e, err := requirements.Parse(text)
	require.NoError(t, err)
	return e
}

func TestPick_PendingReservationsCountAtOnce(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	for i := range 3 {
		ix.Put(linux(i, nil))
	}
	seen := map[string]int{}
	for i := range 30 {
		owner := fmt.Sprint("o-", i)
		id, refused := ix.Pick(placement.Request{Owner: owner, Type: virtual})
		require.Nil(t, refused)
		ix.Reserve(id, owner, virtual)
		seen[id]++
	}
	require.Equal(t, map[string]int{"h-00000": 10, "h-00001": 10, "h-00002": 10}, seen)
	_, refused := ix.Pick(placement.Request{Owner: "late", Type: virtual})
	require.Equal(t, 3, refused.Count(placement.Full))

	ix.Settle("h-00001", "o-1", virtual, nil)
	id, _ := ix.Pick(placement.Request{Owner: "late", Type: virtual})
	require.Equal(t, "h-00001", id)
}

func TestPick_ServersWhereALaunchFailedComeLast(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	ix.Put(linux(0, nil))
	busy := linux(1, nil)
	busy.VirtualSessions = 9
	ix.Put(busy)
	req := placement.Request{Owner: "o", Type: virtual, Avoid: []string{"h-00000"}}
	id, _ := ix.Pick(req)
	require.Equal(t, "h-00001", id)
	req.Avoid = []string{"h-00000", "h-00001"}
	id, _ = ix.Pick(req)
	require.Equal(t, "h-00000", id, "better than nothing, and the better one")
}

func TestPick_WindowsTakesOneConsoleSessionOnly(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	v := linux(0, nil)
	v.Facts.Os.Family = "windows"
	ix.Put(v)
	_, refused := ix.Pick(placement.Request{Owner: "o", Type: virtual})
	require.Equal(t, 1, refused.Count(placement.TypeNotOffered))
	id, _ := ix.Pick(placement.Request{Owner: "o", Type: console})
	require.Equal(t, "h-00000", id)
	ix.Reserve(id, "o", console)
	_, refused = ix.Pick(placement.Request{Owner: "p", Type: console})
	require.Equal(t, 1, refused.Count(placement.Full))
}

// N1, C22: a refusal says how many servers failed on what.
func TestPick_ARefusalSaysWhy(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	_, refused := ix.Pick(placement.Request{Owner: "o", Type: virtual})
	require.Equal(t, "there are no servers", refused.String())

	for i := range 9 {
		v := linux(i, map[string]string{"pool": fmt.Sprint(i % 2)})
		switch i {
		case 0:
			v.Availability = unavailable
			v.UnavailabilityReason = messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT
		case 2:
			v.VirtualByOwner = map[string]int32{"p": 1, "q": 9}
		case 4, 6:
			v.VirtualByOwner = map[string]int32{"o": 1}
		case 8:
			v.Facts.MaxVirtualSessions = 0
		}
		ix.Put(v)
	}
	req := placement.Request{Owner: "o", Type: virtual, Requirements: parse(t, "tag:pool = '0'")}
	_, refused = ix.Pick(req)
	require.Equal(t, "of 9 servers, 4 do not meet the requirements, 1 cannot be reached, "+
		"1 does not offer this type of session, 1 is full, 2 have as many sessions of this owner as allowed", refused.String())
	refusal := refused.Refusal()
	require.Equal(t, messages.CodeNoServer, refusal.Code)
	require.Equal(t, "No DCV server found for the given criteria", refusal.Text)
	require.Equal(t, "requirements", refusal.Counts[0].Criterion)
	require.EqualValues(t, 4, refusal.Counts[0].Servers)
	require.Len(t, refusal.Counts, 5)

	verdict, _ := ix.Judge("h-00001", req)
	require.Equal(t, placement.Verdict{Criterion: placement.Requirements, Unmet: "tag:pool = '0'"}, verdict)
	_, known := ix.Judge("nobody", req)
	require.False(t, known)
}

func TestPick_AnUnknownTypeIsOfferedNowhere(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	ix.Put(linux(0, nil))
	_, refused := ix.Pick(placement.Request{Owner: "o"})
	require.Equal(t, 1, refused.Count(placement.TypeNotOffered))
	ix.Reserve("h-00000", "o", 0)
	ix.Settle("h-00000", "o", 0, nil)
}

// A host that reports nonsense cannot disturb the order of the others.
func TestPick_NonsenseLoadComesLast(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	for i, load := range []float32{float32(math.NaN()), float32(math.Inf(1)), 2, float32(math.Inf(-1))} {
		v := linux(i, nil)
		v.Load.LoadOneMinute = load
		ix.Put(v)
	}
	for _, v := range []int{0, 1, 3} {
		ix.Remove(fmt.Sprintf("h-%05d", v))
		id, _ := ix.Pick(placement.Request{Owner: "o", Type: virtual})
		require.NotEqual(t, "h-00000", id)
	}
	require.Equal(t, 1, ix.Len())
}

func TestIndex_ALateSettleOfARemovedServerIsNothing(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	ix.Put(linux(0, nil))
	ix.Reserve("h-00000", "o", virtual)
	ix.Remove("h-00000")
	ix.Settle("h-00000", "o", virtual, linux(0, nil))
	require.Zero(t, ix.Len(), "what was removed stays removed")
	ix.Reserve("h-00000", "o", virtual)
	ix.Put(linux(0, nil))
	id, _ := ix.Pick(placement.Request{Owner: "o", Type: virtual})
	require.Equal(t, "h-00000", id)
}

// A fleet large enough for every way of choosing: in order of rank, by class,
// by pin, at first sight; more expressions than are remembered.
func TestIndex_AgreesOnALargeFleet(t *testing.T) {
	t.Parallel()
	const servers = 900
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ix := placement.NewIndex()
	m := &model{views: map[string]*messages.ServerView{}}
	version := int64(0)
	put := func(id int) {
		version++
		v := linux(id, map[string]string{
			"id": fmt.Sprint(id), "pool": fmt.Sprint(r.IntN(2)), "rare": fmt.Sprint(r.IntN(servers / 3)),
		})
		v.Version = version
		v.Load.LoadOneMinute = float32(r.IntN(40)) / 10
		v.Facts.MaxVirtualSessions = int32(r.IntN(4)) - 1
		v.VirtualByOwner = map[string]int32{"ann": int32(r.IntN(2)), "bob": int32(r.IntN(2))}
		v.VirtualSessions = v.VirtualByOwner["ann"] + v.VirtualByOwner["bob"]
		if r.IntN(5) == 0 {
			v.Availability = unavailable
			v.UnavailabilityReason = messages.UnavailabilityReason(r.IntN(7))
		}
		ix.Put(v)
		m.views[v.Id] = v
	}
	for i := range servers {
		put(i)
	}
	shapes := []func() string{
		func() string { return fmt.Sprintf("tag:none = %d or tag:rare = %d", r.Uint32(), r.IntN(9)) },
		func() string { return "" },
		func() string { return fmt.Sprintf("tag:id = '%d'", r.IntN(servers+5)) },
		func() string { return fmt.Sprintf("tag:pool = '%d'", r.IntN(3)) },
		func() string { return fmt.Sprintf("tag:pool = '0' and tag:rare = '%d'", r.IntN(servers/3)) },
		func() string { return fmt.Sprintf("tag:rare < %d", r.IntN(servers/3)) },
		func() string { return fmt.Sprintf("server:Host.CpuLoadAverage.OneMinute < %d", r.IntN(5)) },
		func() string {
			return fmt.Sprintf("tag:rare != '%d' and tag:pool != '%d'", r.IntN(1_000_000), r.IntN(2))
		},
		func() string { return "tag:rare > 1 or tag:id = '" + strings.Repeat("x", 2000) + "'" },
	}
	for i := range 2000 {
		req := placement.Request{
			Owner: []string{"ann", "bob", "eve"}[r.IntN(3)], Type: []messages.SessionType{virtual, console}[r.IntN(2)],
			Requirements: parse(t, shapes[r.IntN(len(shapes))]()),
		}
		want, counts := m.pick(req)
		got, refused := ix.Pick(req)
		require.Equal(t, want, got, "round %d: %s", i, req.Requirements)
		for c := placement.Requirements; refused != nil && c <= placement.OwnerLimit; c++ {
			require.Equal(t, counts[c], refused.Count(c), "%s of %s", c, req.Requirements)
		}
		put(r.IntN(servers))
		if i%7 == 6 {
			id := fmt.Sprintf("h-%05d", r.IntN(servers))
			ix.Remove(id)
			delete(m.views, id)
		}
	}
}

// A class that is much used sinks below servers nobody asks for; it then gets an
// order of its own, and more classes than may have one take turns.
func TestIndex_AgreesWhereClassesHaveTheirOwnOrder(t *testing.T) {
	t.Parallel()
	const servers = 1500
	ix := placement.NewIndex()
	m := &model{views: map[string]*messages.ServerView{}}
	for i := range servers {
		v := linux(i, map[string]string{"pool": fmt.Sprint(min(i%5, 1))})
		v.Facts.MaxVirtualSessions, v.Facts.MaxConcurrentSessionsPerUser = -1, -1
		ix.Put(v)
		m.views[v.Id] = v
	}
	for i := range 4000 {
		// Every one of these expressions means the pool of 300.
		req := placement.Request{Owner: "o", Type: virtual,
			Requirements: parse(t, fmt.Sprintf("tag:pool < 1 and tag:pool != '%d'", 2+i/9%120))}
		got, refused := ix.Pick(req)
		require.Nil(t, refused)
		if i%40 == 0 {
			want, _ := m.pick(req)
			require.Equal(t, want, got, "round %d", i)
		}
		ix.Reserve(got, req.Owner, virtual)
		v := counted(m.views[got], req.Owner)
		if i%97 == 0 {
			v.Availability = unavailable
		}
		m.views[got] = v
		ix.Settle(got, req.Owner, virtual, v)
		if i%101 == 0 {
			ix.Remove(got)
			delete(m.views, got)
		}
	}
}

// A requirement on load follows the heartbeats, also once its class is remembered.
func TestPick_ARequirementOnLoadFollowsTheLoad(t *testing.T) {
	t.Parallel()
	ix := placement.NewIndex()
	v := linux(0, nil)
	ix.Put(v)
	req := placement.Request{Owner: "o", Type: virtual, Requirements: parse(t, "server:Host.CpuLoadAverage.OneMinute < 2")}
	for i, load := range []float32{1, 1, 3, 1, 3} {
		ix.Put(&messages.ServerView{
			Id: v.Id, Facts: v.Facts, Availability: available, Version: int64(i + 2),
			Load: &messages.ServerLoad{LoadOneMinute: load},
		})
		_, refused := ix.Pick(req)
		require.Equal(t, load > 2, refused != nil, "heartbeat %d", i)
	}
}
