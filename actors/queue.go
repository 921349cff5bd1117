package actors

import (
	"slices"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"

	"opensessionmanager/actors/placement"
	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// queueGrain holds creates that wait for room: bounded, first come first served among
// those that want the same thing. It is woken by freed capacity, not by polling. It
// stores nothing: each session in it is stored as queued and comes back by itself.
type queueGrain struct {
	deps     *Deps
	retiring bool // given up; what still arrives is for the next activation
	lines    map[string]*line
	entries  map[string]*queued // by session id
	waiting  int                // entries whose sessions know that they wait
}

// line is the sessions that want the same type and requirements, by time. One of
// them at a time is with the placer, so that the order is kept.
type line struct {
	class   string
	entries []*queued
	trying  *queued
	since   time.Time // when trying was handed to the placer
	next    int       // who is tried next in this pass; len(entries) = the pass is over
	again   bool      // room changed during the pass
}

type queued struct {
	place   *messages.PlaceSession
	since   int64 // unix ms
	waits   bool  // accepted into the queue; before that it is only being tried
	left    bool  // gave up while it was being tried
	resumed bool  // was accepted before a restart and may not be refused
}

func newQueueGrain(d *Deps) actor.Actor {
	return &queueGrain{deps: d, lines: map[string]*line{}, entries: map[string]*queued{}}
}

// QueueKind is the grain kind of the queue.
func QueueKind(d *Deps) *cluster.Kind {
	return cluster.NewKind(messages.KindQueue, actor.PropsFromProducer(func() actor.Actor {
		return newQueueGrain(d)
	}, actor.WithReceiverMiddleware(guarded(d, messages.KindQueue))))
}

func (g *queueGrain) Receive(ctx actor.Context) {
	if g.retiring {
		forward(ctx, g.deps, messages.KindQueue, messages.QueueIdentity)
		return
	}
	switch m := ctx.Message().(type) {
	case *cluster.ClusterInit:
		ctx.Send(g.deps.Placer, &watchRoom{ctx.Self()})
		g.gather()
	case *messages.EnqueueSession:
		g.onEnqueue(ctx, m)
	case *messages.LeaveQueue:
		g.onLeave(m.GetSessionId())
	case *messages.PlacementGranted:
		g.onGranted(ctx, m)
	case *messages.PlacementRefused:
		g.onRefused(ctx, m)
	case *messages.RoomChanged:
		g.onRoomChanged(ctx)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		unhandled(g.deps, "queue", m)
	}
}

// gather has those come (again) who wait according to the roster: an activation
// before this one may have known them.
func (g *queueGrain) gather() {
	views := g.deps.views()
	for page := views.Sessions(roster.SessionQuery{Limit: 1000}); ; page = views.Sessions(roster.SessionQuery{Limit: 1000, After: page.Next}) {
		for _, entry := range page.Sessions {
			if entry.View.GetSubstate() == messages.SessionSubstate_SESSION_SUBSTATE_PLACING {
				g.deps.Peers.Tell(messages.KindSession, entry.View.GetId(), &messages.Wake{}, nil)
			}
		}
		if !page.More {
			return
		}
	}
}

// giveUp implements mortal. The next activation is made soon: those who wait would
// not ask for it.
func (g *queueGrain) giveUp(self *actor.PID, _ *messages.Refusal) {
	if !g.retiring {
		g.retiring = true
		g.deps.Peers.Retire(messages.KindQueue, messages.QueueIdentity, self)
		g.deps.Clock.At(g.deps.Clock.Now().Add(time.Second), func() {
			g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.RoomChanged{}, nil)
		})
	}
}

// onEnqueue: alone in its line it is tried at once, behind others it waits.
func (g *queueGrain) onEnqueue(ctx actor.Context, m *messages.EnqueueSession) {
	id := m.GetPlace().GetSessionId()
	if known := g.entries[id]; known != nil {
		known.left = false                  // it asks again after a reload
		if known.waits && !m.GetResumed() { // it was not told, or that was lost
			g.deps.Peers.Tell(messages.KindSession, id, &messages.PlacementQueued{SessionId: id}, nil)
		}
		return
	}
	entry := &queued{place: m.GetPlace(), since: m.GetEnqueuedUnixMs(), resumed: m.GetResumed()}
	l := g.lineOf(entry)
	if len(l.entries) > 0 && !g.accept(entry) {
		return
	}
	g.entries[id] = entry
	at, _ := slices.BinarySearchFunc(l.entries, entry, func(a, b *queued) int {
		if a.since <= b.since { // equal times keep the order of arrival
			return -1
		}
		return 1
	})
	l.entries = slices.Insert(l.entries, at, entry)
	if at < l.next || l.trying == nil && len(l.entries) > 1 {
		l.next++ // the pass is past this place, or over
	}
	g.goOn(ctx, l)
}

// accept lets the session wait, or refuses it when the queue is full (F40).
func (g *queueGrain) accept(entry *queued) bool {
	id := entry.place.GetSessionId()
	if g.waiting >= g.deps.Config.QueueSize && !entry.resumed {
		g.deps.Peers.Tell(messages.KindSession, id, &messages.PlacementRefused{SessionId: id, Refusal: &messages.Refusal{
			Code: messages.CodeQueueFull, Detail: "create-sessions-queue-max-size sessions wait already"}}, nil)
		return false
	}
	g.waiting++
	entry.waits = true
	if !entry.resumed {
		g.deps.Peers.Tell(messages.KindSession, id, &messages.PlacementQueued{SessionId: id}, nil)
	}
	return true
}

func (g *queueGrain) onGranted(ctx actor.Context, m *messages.PlacementGranted) {
	g.deps.Peers.Tell(messages.KindSession, m.GetSessionId(), m, nil) // it gives the slot back if it is over
	if entry := g.entries[m.GetSessionId()]; entry != nil {
		l := g.lineOf(entry)
		g.remove(l, entry)
		l.tried(entry)
		g.goOn(ctx, l)
	}
}

// tried: the placer answered for the entry.
func (l *line) tried(entry *queued) {
	if l.trying == entry {
		l.trying = nil
	}
}

func (g *queueGrain) onRefused(ctx actor.Context, m *messages.PlacementRefused) {
	entry := g.entries[m.GetSessionId()]
	if entry == nil {
		return
	}
	l := g.lineOf(entry)
	l.tried(entry)
	switch {
	case entry.left || !entry.waits && !g.accept(entry):
		g.remove(l, entry)
	case refusedForOwner(m.GetRefusal()):
		l.next++ // there is room, but not for this owner; the one behind may fit
	default:
		l.next = len(l.entries)
	}
	g.goOn(ctx, l)
}

// refusedForOwner: some server had room, but not for one more session of this owner.
func refusedForOwner(r *messages.Refusal) bool {
	return slices.ContainsFunc(r.GetCounts(), func(c *messages.RefusalCount) bool {
		return c.GetCriterion() == placement.OwnerLimit.String() && c.GetServers() > 0
	})
}

func (g *queueGrain) onRoomChanged(ctx actor.Context) {
	for _, l := range g.lines {
		if g.isTrying(l) {
			l.again = true
			continue
		}
		l.next = 0
		g.goOn(ctx, l)
	}
}

// goOn tries the next of a line, if none is being tried.
func (g *queueGrain) goOn(ctx actor.Context, l *line) {
	if g.isTrying(l) {
		return
	}
	if l.next >= len(l.entries) && l.again {
		l.next, l.again = 0, false
	}
	if l.next < len(l.entries) {
		l.trying, l.since = l.entries[l.next], g.deps.Clock.Now()
		ctx.Request(g.deps.Placer, l.trying.place)
		return
	}
	if len(l.entries) == 0 {
		delete(g.lines, l.class)
	}
}

// isTrying: one of the line is with the placer. An answer that did not come in the
// time of all its tries was lost and must not block the line.
func (g *queueGrain) isTrying(l *line) bool {
	if l.trying != nil && g.deps.Clock.Now().Sub(l.since) > (maxTries+1)*reserveTime {
		l.trying = nil
	}
	return l.trying != nil
}

func (g *queueGrain) onLeave(id string) {
	entry := g.entries[id]
	if entry == nil {
		return
	}
	if l := g.lineOf(entry); l.trying != entry {
		g.remove(l, entry)
	} else {
		entry.left = true // the placer's answer ends it
	}
}

func (g *queueGrain) remove(l *line, entry *queued) {
	delete(g.entries, entry.place.GetSessionId())
	if entry.waits {
		g.waiting--
	}
	if at := slices.Index(l.entries, entry); at >= 0 {
		l.entries = slices.Delete(l.entries, at, at+1)
		if at < l.next {
			l.next--
		}
	}
	if len(l.entries) == 0 && l.trying == nil {
		delete(g.lines, l.class)
	}
}

func (g *queueGrain) lineOf(entry *queued) *line {
	class := strconv.Itoa(int(entry.place.GetType())) + " " + entry.place.GetRequirements()
	l := g.lines[class]
	if l == nil {
		l = &line{class: class}
		g.lines[class] = l
	}
	return l
}
