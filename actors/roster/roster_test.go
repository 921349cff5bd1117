package roster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

func session(id int, owner, server string) *messages.SessionView {
	return &messages.SessionView{
		Id: fmt.Sprintf("s-%06d", id), Owner: owner, ServerId: server,
		CreationUnixMs: int64(id), Version: 1,
	}
}

func server(id int, tags map[string]string) *messages.ServerView {
	return &messages.ServerView{
		Id: fmt.Sprintf("h-%05d", id), Version: 1,
		Facts: &messages.ServerFacts{
			Hostname: fmt.Sprintf("host-%05d", id), Tags: tags, Os: &messages.Os{Family: "linux"},
		},
	}
}

func TestBuilder_OlderAndEqualVersionsAreIgnored(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	v := &messages.SessionView{Id: "s", Version: 3}
	require.True(t, b.PutSession(v))
	before := b.Snapshot()
	require.False(t, b.PutSession(&messages.SessionView{Id: "s", Version: 3}))
	require.False(t, b.PutSession(&messages.SessionView{Id: "s", Version: 2}))
	require.False(t, b.PutSession(nil))
	require.False(t, b.PutServer(&messages.ServerView{}))
	require.Same(t, before, b.Snapshot(), "nothing changed")
}

func TestBuilder_AReplacedEntryHasEmptySlots(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	b.PutSession(&messages.SessionView{Id: "s", Version: 1})
	b.PutServer(&messages.ServerView{Id: "h", Version: 1})
	old := b.Snapshot()
	bytes := []byte("{}")
	e, _ := old.Session("s")
	e.Encoded.Store(&bytes)
	h, _ := old.Server("h")
	h.Encoded.Store(&bytes)
	h.Brief.Store(&bytes)

	b.PutSession(&messages.SessionView{Id: "s", Version: 2})
	b.PutServer(&messages.ServerView{Id: "h", Version: 2})

	e, _ = b.Snapshot().Session("s")
	require.Nil(t, e.Encoded.Load())
	h, _ = b.Snapshot().Server("h")
	require.Nil(t, h.Encoded.Load())
	require.Nil(t, h.Brief.Load())
	e, _ = old.Session("s")
	require.Equal(t, &bytes, e.Encoded.Load(), "the old picture keeps its bytes")
}

// A tag filter takes two roads, by sessions and by servers; both, and the change
// from one to the other, give the same pages. C11: many sessions on few hosts.
func TestSessions_TagFilterWhereMostAndWhereFewMatch(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	for i := range 2000 {
		pool := "common"
		if i%500 == 0 {
			pool = "rare"
		}
		b.PutServer(server(i, map[string]string{"pool": pool, "id": fmt.Sprint(i)}))
	}
	for i := range 20000 {
		owner := "many"
		if i%1000 == 999 {
			owner = "few"
		}
		b.PutSession(session(i, owner, fmt.Sprintf("h-%05d", (i*7)%2000)))
	}
	s := b.Snapshot()
	queries := map[string]struct {
		owners []string
		tags   map[string][]string
		want   int
	}{
		"most":               {nil, map[string][]string{"pool": {"common"}}, 19960},
		"few":                {nil, map[string][]string{"pool": {"rare"}}, 40},
		"one":                {nil, map[string][]string{"id": {"1"}, "pool": {"common"}}, 10},
		"contradiction":      {nil, map[string][]string{"id": {"1"}, "pool": {"rare"}}, 0},
		"no such tag":        {nil, map[string][]string{"nothing": {"x"}}, 0},
		"owner of many, few": {[]string{"many"}, map[string][]string{"pool": {"rare"}}, 40},
		"owner of few, most": {[]string{"few"}, map[string][]string{"pool": {"common"}}, 20},
		"both owners, all":   {[]string{"few", "many"}, map[string][]string{"dcv:os-family": {"linux"}}, 20000},
	}
	for name, q := range queries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			query := roster.SessionQuery{Owners: q.owners, Tags: q.tags, Limit: 1000}
			for more := true; more; {
				page := s.Sessions(query)
				got = append(got, sessionIDs(page.Sessions)...)
				query.After, more = page.Next, page.More
			}
			require.Len(t, got, q.want)
			require.True(t, slices.IsSorted(got))
			require.Len(t, slices.Compact(got), q.want, "nothing twice")
		})
	}
}

// F49: what stays is neither skipped nor repeated while other sessions come and go.
func TestSessions_PagesAreStableWhileSessionsChange(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	for i := range 100 {
		b.PutSession(session(i, "o", ""))
	}
	var stable []string
	query := roster.SessionQuery{Limit: 7}
	for more := true; more; {
		page := b.Snapshot().Sessions(query)
		for _, e := range page.Sessions {
			if e.View.CreationUnixMs%2 == 0 && e.View.CreationUnixMs < 100 {
				stable = append(stable, e.View.Id)
			}
		}
		query.After, more = page.Next, page.More
		b.RemoveSession(fmt.Sprintf("s-%06d", query.After.CreationUnixMs|1))
		if query.After.CreationUnixMs < 100 {
			b.PutSession(session(1000+int(query.After.CreationUnixMs), "o", ""))
		}
	}
	require.Len(t, stable, 50)
	require.Len(t, slices.Compact(stable), 50)
}

// Readers take no lock while the one Builder goes on; run with -race.
func TestSnapshot_IsReadWhileTheBuilderGoesOn(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	for i := range 500 {
		b.PutServer(server(i, map[string]string{"id": fmt.Sprint(i)}))
		b.PutSession(session(i, "o", fmt.Sprintf("h-%05d", i)))
	}
	snapshots := make(chan *roster.Snapshot)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for s := range snapshots {
				readEverything(s)
			}
		})
	}
	for round := range 60 {
		for i := range 100 {
			v := session((round*37+i)%700, fmt.Sprint("o-", i%3), fmt.Sprintf("h-%05d", i))
			v.Version = int64(round + 2)
			b.PutSession(v)
			b.RemoveSession(fmt.Sprintf("s-%06d", (round*53+i*3)%700))
			h := server(i, map[string]string{"id": fmt.Sprint(i, round)})
			h.Version = int64(round + 2)
			b.PutServer(h)
			if i%10 == 0 {
				snapshots <- b.Snapshot()
			}
		}
		b.RemoveServer(fmt.Sprintf("h-%05d", round))
	}
	close(snapshots)
	readers.Wait()
}

func readEverything(s *roster.Snapshot) {
	page := s.Sessions(roster.SessionQuery{Limit: 50})
	for _, e := range page.Sessions {
		e.Encoded.Store(new([]byte))
		s.Session(e.View.Id)
		s.SessionsOn(e.View.ServerId)
	}
	s.Sessions(roster.SessionQuery{Owners: []string{"o-1", "o-2"}, Limit: 10})
	s.Sessions(roster.SessionQuery{Tags: map[string][]string{"id": {"7"}, "dcv:os-family": {"linux"}}})
	s.Servers(roster.ServerCursor{}, 20)
}

func TestServersOfMachine_ListsEveryNameOfOneMachine(t *testing.T) {
	t.Parallel()
	b := roster.NewBuilder()
	put := func(id, machine string, version int64) {
		require.True(t, b.PutServer(&messages.ServerView{Id: id, MachineId: machine, Version: version}))
	}
	put("b", "m1", 1)
	put("a", "m1", 1)
	put("c", "m2", 1)
	require.Len(t, b.Snapshot().ServersOfMachine("m1"), 2)
	require.Equal(t, "a", b.Snapshot().ServersOfMachine("m1")[0].View.Id)
	put("b", "m3", 2)
	b.RemoveServer("a")
	require.Empty(t, b.Snapshot().ServersOfMachine("m1"))
	require.Len(t, b.Snapshot().ServersOfMachine("m3"), 1)
}
