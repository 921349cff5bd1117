package roster_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// model is the roster without any index.
type model struct {
	sessions map[string]*messages.SessionView
	servers  map[string]*messages.ServerView
}

func (m model) query(q roster.SessionQuery) (ids []string, more bool) {
	var found []*messages.SessionView
	for _, v := range m.sessions {
		if m.selects(q, v) {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, compareViews)
	for _, v := range found {
		ids = append(ids, v.Id)
	}
	if q.Limit > 0 && len(ids) > q.Limit {
		return ids[:q.Limit], true
	}
	return ids, false
}

func (m model) selects(q roster.SessionQuery, v *messages.SessionView) bool {
	if len(q.Owners) > 0 && !slices.Contains(q.Owners, v.Owner) {
		return false
	}
	for key, values := range q.Tags {
		server, ok := m.servers[v.ServerId]
		if !ok || !slices.ContainsFunc(requirements.Tags(server.Facts), func(t requirements.Tag) bool {
			return t.Key == key && slices.Contains(values, t.Value)
		}) {
			return false
		}
	}
	return q.After == (roster.SessionCursor{}) ||
		cmp.Or(cmp.Compare(v.CreationUnixMs, q.After.CreationUnixMs), cmp.Compare(v.Id, q.After.ID)) > 0
}

func compareViews(a, b *messages.SessionView) int {
	return cmp.Or(cmp.Compare(a.CreationUnixMs, b.CreationUnixMs), cmp.Compare(a.Id, b.Id))
}

func (m model) clone() model {
	c := model{map[string]*messages.SessionView{}, map[string]*messages.ServerView{}}
	for id, v := range m.sessions {
		c.sessions[id] = v
	}
	for id, v := range m.servers {
		c.servers[id] = v
	}
	return c
}

func sessionIDs(all []*roster.Session) (ids []string) {
	for _, e := range all {
		ids = append(ids, e.View.Id)
	}
	return ids
}

func drawSession(t *rapid.T) *messages.SessionView {
	server := rapid.IntRange(0, 9).Draw(t, "server")
	v := &messages.SessionView{
		Id:             fmt.Sprint("s-", rapid.IntRange(0, 30).Draw(t, "id")),
		Owner:          fmt.Sprint("o-", rapid.IntRange(0, 4).Draw(t, "owner")),
		CreationUnixMs: rapid.Int64Range(-2, 5).Draw(t, "created"),
		Version:        rapid.Int64Range(0, 9).Draw(t, "version"),
	}
	if server > 0 {
		v.ServerId = fmt.Sprint("h-", server)
	}
	return v
}

func drawServer(t *rapid.T) *messages.ServerView {
	v := &messages.ServerView{
		Id:      fmt.Sprint("h-", rapid.IntRange(1, 9).Draw(t, "id")),
		Version: rapid.Int64Range(0, 9).Draw(t, "version"),
	}
	if rapid.IntRange(0, 9).Draw(t, "facts") == 0 {
		return v
	}
	v.Facts = &messages.ServerFacts{
		Hostname: fmt.Sprint("host-", rapid.IntRange(0, 3).Draw(t, "hostname")),
		Os:       &messages.Os{Family: rapid.SampledFrom([]string{"linux", "windows"}).Draw(t, "family")},
		Tags: rapid.MapOfN(rapid.SampledFrom([]string{"color", "zone"}),
			rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(t, "tags"),
	}
	return v
}

func drawQuery(t *rapid.T) roster.SessionQuery {
	q := roster.SessionQuery{Limit: rapid.IntRange(0, 6).Draw(t, "limit")}
	q.Owners = rapid.SliceOfN(rapid.SampledFrom([]string{"o-0", "o-1", "o-2", "nobody"}), 0, 3).Draw(t, "owners")
	q.Tags = rapid.MapOfN(rapid.SampledFrom([]string{"color", "zone", "dcv:os-family", "none"}),
		rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "linux"}), 0, 3), 0, 2).Draw(t, "tags")
	if rapid.Bool().Draw(t, "continue") {
		q.After = roster.SessionCursor{
			CreationUnixMs: rapid.Int64Range(-2, 5).Draw(t, "after"),
			ID:             fmt.Sprint("s-", rapid.IntRange(0, 30).Draw(t, "after id")),
		}
	}
	return q
}

// Whatever happens, a snapshot says what a plain list of the views at that
// moment would say, and it says the same after more changes.
func TestRoster_AgreesWithAPlainList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := roster.NewBuilder()
		now := model{}.clone()
		type moment struct {
			was      model
			snapshot *roster.Snapshot
		}
		var taken []moment
		t.Repeat(map[string]func(*rapid.T){
			"put session": func(t *rapid.T) {
				v := drawSession(t)
				old, known := now.sessions[v.Id]
				fresh := !known || v.Version > old.Version
				require.Equal(t, fresh, b.PutSession(v))
				if fresh {
					now.sessions[v.Id] = v
				}
			},
			"put server": func(t *rapid.T) {
				v := drawServer(t)
				old, known := now.servers[v.Id]
				fresh := !known || v.Version > old.Version
				require.Equal(t, fresh, b.PutServer(v))
				if fresh {
					now.servers[v.Id] = v
				}
			},
			"remove session": func(t *rapid.T) {
				id := fmt.Sprint("s-", rapid.IntRange(0, 30).Draw(t, "id"))
				b.RemoveSession(id)
				delete(now.sessions, id)
			},
			"remove server": func(t *rapid.T) {
				id := fmt.Sprint("h-", rapid.IntRange(1, 9).Draw(t, "id"))
				b.RemoveServer(id)
				delete(now.servers, id)
			},
			"snapshot": func(*rapid.T) {
				taken = append(taken, moment{now.clone(), b.Snapshot()})
			},
			"": func(t *rapid.T) {
				checkSnapshot(t, b.Snapshot(), now)
			},
		})
		for _, m := range taken {
			checkSnapshot(t, m.snapshot, m.was)
		}
	})
}

func checkSnapshot(t *rapid.T, s *roster.Snapshot, m model) {
	require.Equal(t, len(m.sessions), s.CountSessions())
	require.Equal(t, len(m.servers), s.CountServers())
	for id, v := range m.sessions {
		e, ok := s.Session(id)
		require.True(t, ok)
		require.Same(t, v, e.View)
	}
	for id, v := range m.servers {
		e, ok := s.Server(id)
		require.True(t, ok)
		require.Same(t, v, e.View)
	}
	q := drawQuery(t)
	ids, more := m.query(q)
	page := s.Sessions(q)
	require.Equal(t, ids, sessionIDs(page.Sessions))
	require.Equal(t, more, page.More)
	checkServerPages(t, s, m)
	checkSessionsOn(t, s, m)
}

func checkServerPages(t *rapid.T, s *roster.Snapshot, m model) {
	limit := rapid.IntRange(1, 4).Draw(t, "server limit")
	var cursor roster.ServerCursor
	var got []*messages.ServerView
	for more := true; more; {
		page := s.Servers(cursor, limit)
		require.LessOrEqual(t, len(page.Servers), limit)
		for _, e := range page.Servers {
			got = append(got, e.View)
		}
		cursor, more = page.Next, page.More
	}
	require.Len(t, got, len(m.servers))
	require.True(t, slices.IsSortedFunc(got, func(a, b *messages.ServerView) int {
		return cmp.Or(cmp.Compare(a.GetFacts().GetHostname(), b.GetFacts().GetHostname()), cmp.Compare(a.Id, b.Id))
	}))
}

func checkSessionsOn(t *rapid.T, s *roster.Snapshot, m model) {
	id := fmt.Sprint("h-", rapid.IntRange(1, 9).Draw(t, "on"))
	var want []*messages.SessionView
	for _, v := range m.sessions {
		if v.ServerId == id {
			want = append(want, v)
		}
	}
	slices.SortFunc(want, compareViews)
	got := s.SessionsOn(id)
	require.Len(t, got, len(want))
	for i, e := range got {
		require.Same(t, want[i], e.View)
	}
}
