package placement_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/placement"
	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

const fleet = 10_000

func fleetIndex() (*placement.Index, []*messages.ServerView) {
	ix := placement.NewIndex()
	views := make([]*messages.ServerView, fleet)
	for i := range views {
		v := linux(i, map[string]string{"session": fmt.Sprint("s-", i), "pool": fmt.Sprint(i % 10), "color": "pink"})
		v.Facts.MaxVirtualSessions, v.Facts.MaxConcurrentSessionsPerUser = -1, -1
		v.Load.LoadOneMinute = float32(i*7919%1000) / 250
		views[i] = v
		ix.Put(v)
	}
	return ix, views
}

// counted is the picture a server publishes once it granted a reservation.
func counted(v *messages.ServerView, owner string) *messages.ServerView {
	return &messages.ServerView{
		Id: v.Id, Facts: v.Facts, Load: v.Load, Availability: v.Availability, Reachable: true,
		VirtualSessions: v.VirtualSessions + 1, VirtualByOwner: map[string]int32{owner: 1}, Version: v.Version + 1,
	}
}

func benchmarkPick(b *testing.B, expression func(i int) string) {
	ix, views := fleetIndex()
	byID := map[string]int{}
	for i, v := range views {
		byID[v.Id] = i
	}
	exprs := make([]*requirements.Expr, fleet)
	owners := make([]string, fleet)
	for i := range exprs {
		e, err := requirements.Parse(expression(i))
		require.NoError(b, err)
		exprs[i], owners[i] = e, fmt.Sprint("owner-", i)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		i := n % fleet
		n++
		req := placement.Request{Owner: owners[i], Type: virtual, Requirements: exprs[i]}
		id, refused := ix.Pick(req)
		if refused != nil {
			b.Fatal(refused)
		}
		ix.Reserve(id, req.Owner, virtual)
		at := byID[id]
		views[at] = counted(views[at], req.Owner)
		ix.Settle(id, req.Owner, virtual, views[at])
	}
}

func BenchmarkPickReserveSettle(b *testing.B) {
	b.Run("no requirement", func(b *testing.B) {
		benchmarkPick(b, func(int) string { return "" })
	})
	b.Run("common requirement", func(b *testing.B) {
		benchmarkPick(b, func(int) string { return "tag:pool = '3' and server:Host.Os.Family = 'linux'" })
	})
	b.Run("pinned tag", func(b *testing.B) {
		benchmarkPick(b, func(i int) string { return fmt.Sprintf("tag:session = 's-%d'", (i*7919)%fleet) })
	})
	b.Run("distinct, common", func(b *testing.B) {
		benchmarkPick(b, func(i int) string { return fmt.Sprintf("server:Host.CpuInfo.NumberOfCpus < %d", 100+i) })
	})
}

func BenchmarkPickRefused(b *testing.B) {
	for name, expression := range map[string]func(i int) string{
		"no requirement":        func(int) string { return "" },
		"common requirement":    func(int) string { return "tag:pool != '3'" },
		"pinned, nobody has it": func(i int) string { return fmt.Sprintf("tag:session = 'none-%d'", i) },
		"distinct, rare":        func(i int) string { return fmt.Sprintf("tag:pool > %d", 10+i) },
	} {
		b.Run(name, func(b *testing.B) {
			ix, views := fleetIndex()
			for _, v := range views {
				full := counted(v, "other")
				full.Facts.MaxVirtualSessions = 1
				ix.Put(full)
			}
			exprs := make([]*requirements.Expr, 2*fleet)
			for i := range exprs {
				e, err := requirements.Parse(expression(i))
				require.NoError(b, err)
				exprs[i] = e
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				_, refused := ix.Pick(placement.Request{Owner: "o", Type: virtual, Requirements: exprs[n%len(exprs)]})
				if refused == nil {
					b.Fatal("no server has room")
				}
				n++
			}
		})
	}
}

// A heartbeat changes the load only.
func BenchmarkPutHeartbeat(b *testing.B) {
	ix, views := fleetIndex()
	for i := range 1000 { // fill the memory of classes
		e, err := requirements.Parse(fmt.Sprintf("tag:pool != '%d'", 20+i/2))
		require.NoError(b, err)
		ix.Pick(placement.Request{Owner: "o", Type: virtual, Requirements: e})
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		v := views[n*7919%fleet]
		n++
		ix.Put(&messages.ServerView{
			Id: v.Id, Facts: v.Facts, Availability: v.Availability, Version: int64(n + 1),
			Load: &messages.ServerLoad{LoadOneMinute: float32(n % 97)},
		})
	}
}
