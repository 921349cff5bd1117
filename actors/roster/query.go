package roster

import (
	"container/heap"
	"math"
	"slices"

	"opensessionmanager/actors/requirements"
)

// SessionQuery selects sessions. An empty field does not restrict.
type SessionQuery struct {
	// Owners are alternatives, compared exactly.
	Owners []string
	// Tags of the session's server: each key is required, the values of one key
	// are alternatives. System tags count (contract section 1.2).
	Tags map[string][]string
	// After is the place the page before ended with.
	After SessionCursor
	// Limit bounds the page; 0 or less means all.
	Limit int
}

// SessionCursor is a place in the list of sessions: after this creation time and
// id. The zero value is the start.
type SessionCursor struct {
	CreationUnixMs int64
	ID             string
}

// SessionPage is a part of the list of sessions. Next is where the following
// page starts; it is set only if More is.
type SessionPage struct {
	Sessions []*Session
	Next     SessionCursor
	More     bool
}

// Bounds of the walks below; they decide between two ways to the same answer.
const (
	// fewServers are read one by one at once.
	fewServers = 64
	// walkBudget is how many sessions a walk may look at in vain.
	walkBudget = 1024
)

// Sessions lists the sessions a query selects, in order of creation time, then
// id. It costs in proportion to what the filters find, not to the fleet.
func (s *Snapshot) Sessions(q SessionQuery) SessionPage {
	owners := slices.Compact(slices.Sorted(slices.Values(q.Owners)))
	if len(q.Tags) == 0 {
		found := newCollector(q.Limit, len(owners) < 2)
		budget := math.MaxInt
		s.walk(found, s.x.runs(owners, q.After), all, &budget)
		return found.page()
	}
	return s.filtered(q, owners)
}

// filtered answers a query with a tag filter. Tags belong to servers, so there are
// two ways: walk the sessions in order and look at their servers, which is best
// when most match; or list the matching servers and merge their sessions, which
// is best when few match. The walk has a budget and gives way to the merge.
func (s *Snapshot) filtered(q SessionQuery, owners []string) SessionPage {
	found := newCollector(q.Limit, len(owners) < 2)
	match := tagFilter{snapshot: s, tags: q.Tags, known: map[string]bool{}}
	if len(owners) > 0 {
		budget := walkBudget
		if s.walk(found, s.x.runs(owners, q.After), match.session, &budget) {
			return found.page()
		}
	}
	servers := s.serversWith(q.Tags)
	if len(owners) == 0 && len(servers) > fewServers {
		budget := walkBudget + len(servers)
		if s.walk(found, s.x.runs(nil, q.After), match.session, &budget) {
			return found.page()
		}
	}
	found = newCollector(q.Limit, len(servers) < 2)
	runs := make([]stream, len(servers))
	for i, id := range servers {
		runs[i] = s.x.onServer(id, q.After)
	}
	budget := math.MaxInt
	s.walk(found, runs, ownedBy(owners), &budget)
	return found.page()
}

// runs are the streams that hold the sessions of some owners, or of all.
func (x indexes) runs(owners []string, after SessionCursor) []stream {
	if len(owners) == 0 {
		return []stream{x.everything(after)}
	}
	runs := make([]stream, len(owners))
	for i, owner := range owners {
		runs[i] = x.ofOwner(owner, after)
	}
	return runs
}

// walk offers what keep lets through. It returns false if it looked at more
// sessions than the budget before it knew the whole page.
func (s *Snapshot) walk(found *collector, runs []stream, keep func(*Session) bool, budget *int) bool {
	for _, run := range runs {
		run.scan(func(e *Session) bool {
			*budget--
			return *budget >= 0 && found.wants(e) && (!keep(e) || found.take(e))
		})
		if *budget < 0 {
			return false
		}
	}
	return true
}

func all(*Session) bool { return true }

func ownedBy(owners []string) func(*Session) bool {
	if len(owners) == 0 {
		return all
	}
	return func(e *Session) bool {
		_, ok := slices.BinarySearch(owners, e.View.Owner)
		return ok
	}
}

// tagFilter remembers per server whether it matches: many sessions share one.
type tagFilter struct {
	snapshot *Snapshot
	tags     map[string][]string
	known    map[string]bool
}

func (f tagFilter) session(e *Session) bool {
	id := e.View.ServerId
	matches, ok := f.known[id]
	if !ok {
		server, there := f.snapshot.Server(id)
		matches = there && hasTags(server, f.tags)
		f.known[id] = matches
	}
	return matches
}

func hasTags(server *Server, tags map[string][]string) bool {
	for key, values := range tags {
		value, ok := requirements.TagValue(server.View.Facts, key)
		if !ok || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

// serversWith lists the servers that have the tags. Only the rarest tag is
// listed from the index; the others are looked up at each server it gives.
func (s *Snapshot) serversWith(tags map[string][]string) []string {
	var rarest []string
	bound := math.MaxInt
	for key, values := range tags {
		if ids, complete := s.x.withTag(key, values, bound); complete {
			rarest, bound = ids, len(ids)
		}
	}
	return slices.DeleteFunc(rarest, func(id string) bool {
		server, ok := s.Server(id)
		return !ok || !hasTags(server, tags)
	})
}

// withTag lists the servers whose tag has one of the values; it gives up when
// there are more than bound.
func (x indexes) withTag(key string, values []string, bound int) (ids []string, complete bool) {
	for _, value := range slices.Compact(slices.Sorted(slices.Values(values))) {
		x.byTag.Ascend(tagged{key: key, value: value}, func(t tagged) bool {
			if t.key != key || t.value != value || len(ids) > bound {
				return false
			}
			ids = append(ids, t.serverID)
			return true
		})
	}
	return ids, len(ids) <= bound
}

// collector keeps the first sessions of several ordered runs: one more than the
// page holds, to know whether another page follows.
type collector struct {
	want    int  // how many to keep
	ordered bool // everything comes in order already
	kept    newestFirst
}

func newCollector(limit int, ordered bool) *collector {
	if limit <= 0 || limit == math.MaxInt {
		return &collector{want: math.MaxInt, ordered: ordered}
	}
	return &collector{want: limit + 1, ordered: ordered}
}

// wants is false if neither e nor anything after it in its run can be kept.
func (c *collector) wants(e *Session) bool {
	if len(c.kept) < c.want {
		return true
	}
	return !c.ordered && creationOrder(e, c.kept[0])
}

// take keeps a wanted session and says whether its run may hold more.
func (c *collector) take(e *Session) bool {
	switch {
	case c.ordered || c.want == math.MaxInt:
		c.kept = append(c.kept, e)
		return len(c.kept) < c.want
	case len(c.kept) < c.want:
		heap.Push(&c.kept, e)
	default:
		c.kept[0] = e
		heap.Fix(&c.kept, 0)
	}
	return true
}

func (c *collector) page() SessionPage {
	if !c.ordered {
		slices.SortFunc(c.kept, func(a, b *Session) int { return compareCreation(a.View, b.View) })
	}
	if len(c.kept) < c.want {
		return SessionPage{Sessions: c.kept}
	}
	sessions := c.kept[:c.want-1]
	last := sessions[len(sessions)-1].View
	return SessionPage{
		Sessions: sessions,
		Next:     SessionCursor{CreationUnixMs: last.CreationUnixMs, ID: last.Id},
		More:     true,
	}
}

// newestFirst is a heap with the newest session on top.
type newestFirst []*Session

func (h newestFirst) Len() int           { return len(h) }
func (h newestFirst) Less(i, j int) bool { return creationOrder(h[j], h[i]) }
func (h newestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *newestFirst) Push(e any)        { *h = append(*h, e.(*Session)) }
func (h *newestFirst) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
