package roster_test

import (
	"fmt"
	"testing"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

func fullBuilder() *roster.Builder {
	b := roster.NewBuilder()
	for i := range 10_000 {
		b.PutServer(server(i, map[string]string{"pool": fmt.Sprint(i % 10), "id": fmt.Sprint(i)}))
	}
	for i := range 100_000 {
		b.PutSession(session(i, fmt.Sprint("owner-", i%5000), fmt.Sprintf("h-%05d", i%10_000)))
	}
	return b
}

func BenchmarkPutSession(b *testing.B) {
	for _, every := range []int{1, 100} {
		b.Run(fmt.Sprintf("snapshot every %d", every), func(b *testing.B) {
			builder := fullBuilder()
			views := make([]*messages.SessionView, 100_000)
			for i := range views {
				views[i] = session(i, fmt.Sprint("owner-", i%5000), fmt.Sprintf("h-%05d", i%10_000))
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				i := n * 7919 % len(views)
				v := &messages.SessionView{
					Id: views[i].Id, Owner: views[i].Owner, ServerId: views[i].ServerId,
					CreationUnixMs: views[i].CreationUnixMs, Version: int64(n + 1),
				}
				builder.PutSession(v)
				if n%every == 0 {
					builder.Snapshot()
				}
			}
		})
	}
}

func BenchmarkSessionByID(b *testing.B) {
	s := fullBuilder().Snapshot()
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("s-%06d", i*97)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, ok := s.Session(ids[n%len(ids)]); !ok {
			b.Fatal("lost a session")
		}
	}
}

func BenchmarkSessions(b *testing.B) {
	s := fullBuilder().Snapshot()
	for name, q := range map[string]roster.SessionQuery{
		"page of all": {Limit: 1000},
		"one owner":   {Owners: []string{"owner-7"}, Limit: 1000},
		"rare tag":    {Tags: map[string][]string{"id": {"77"}}, Limit: 1000},
		"tenth":       {Tags: map[string][]string{"pool": {"3"}}, Limit: 1000},
		"common tag":  {Tags: map[string][]string{"dcv:os-family": {"linux"}}, Limit: 1000},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Sessions(q)
			}
		})
	}
}
