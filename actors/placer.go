package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	lru "github.com/hashicorp/golang-lru/v2"

	"opensessionmanager/actors/placement"
	"opensessionmanager/actors/requirements"
	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

const (
	// maxTries bounds how many servers are asked for one placement: each refusal
	// teaches the index, so more means that the fleet is filling up right now.
	maxTries = 16
	// reserveTime is how long a server grain has to answer.
	reserveTime = 2 * time.Second
	// hearsay is how long a broker among others is given to hear of a server that others
	// show already: only then is it believed that none fits.
	hearsay = 100 * time.Millisecond
	// parsedExpressions bounds the cache of parsed requirements.
	parsedExpressions = 1024
)

// placer picks a server for a session and asks that server's grain to reserve; the
// grain has the last word. What is asked for counts at once, so that parallel
// creates do not all pick the same server.
type placer struct {
	deps    *Deps
	index   *placement.Index
	parsed  *lru.Cache[string, *requirements.Expr]
	pending map[string]*placing // by session id
	watcher *actor.PID          // the queue, if it lives on this broker
	told    bool                // it was told of new room and has not been since
	company bool                // other brokers show servers too
}

type placing struct {
	place    *messages.PlaceSession
	askers   []*actor.PID
	request  placement.Request
	serverID string // asked now
	tries    int
	deadline time.Time
	listened bool // to what others show, before it is refused
}

// watchRoom makes the sender known as the one to wake when room appears.
type watchRoom struct{ pid *actor.PID }

type reserveOverdue struct {
	sessionID string
	tries     int
}

// inCompany says whether there are other brokers.
type inCompany struct{ others bool }

// listenedFor ends the time to hear of servers for a session.
type listenedFor struct{ sessionID string }

// roomTold ends a burst of news about room.
type roomTold struct{}

// StartPlacer spawns the placer with the servers of a snapshot.
func StartPlacer(d *Deps, servers *roster.Snapshot) {
	parsed, err := lru.New[string, *requirements.Expr](parsedExpressions)
	if err != nil {
		panic(err) // only for a size below one
	}
	index := placement.NewIndex()
	for page := servers.Servers(roster.ServerCursor{}, 1000); ; page = servers.Servers(page.Next, 1000) {
		for _, s := range page.Servers {
			index.Put(s.View)
		}
		if !page.More {
			break
		}
	}
	d.Placer = d.System.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &placer{deps: d, index: index, parsed: parsed, pending: map[string]*placing{}}
	}, actor.WithReceiverMiddleware(guarded(d, "placer"))))
}

func (p *placer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.PlaceSession:
		p.onPlace(ctx, m)
	case *messages.SlotReserved:
		p.onReserved(ctx, m)
	case *messages.SlotRefused:
		p.onRefused(ctx, m)
	case *messages.Refusal: // a server grain failed; its time will be over
	case *messages.ServerView:
		p.index.Put(m)
		p.roomMayHaveChanged(ctx)
	case *serverGone:
		p.index.Remove(m.id)
	case *watchRoom:
		p.watcher = m.pid
	case *roomTold:
		p.told = false
	case *inCompany:
		p.company = m.others
	case *listenedFor:
		if w := p.pending[m.sessionID]; w != nil && w.serverID == "" {
			p.try(ctx, w)
		}
	case *reserveOverdue:
		p.onOverdue(ctx, m)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		unhandled(p.deps, "placer", m)
	}
}

func (p *placer) onPlace(ctx actor.Context, m *messages.PlaceSession) {
	if old := p.pending[m.GetSessionId()]; old != nil {
		if asker := ctx.Sender(); !slices.ContainsFunc(old.askers, asker.Equal) {
			old.askers = append(old.askers, asker) // asked again after a reload
		}
		return
	}
	expr, err := p.parse(m.GetRequirements())
	if err != nil {
		ctx.Respond(refused(m, &messages.Refusal{Code: messages.CodeRequirements, Detail: err.Error()}))
		return
	}
	queued := p.watcher != nil && p.watcher.Equal(ctx.Sender()) // it is told of every server that appears
	p.try(ctx, &placing{place: m, askers: []*actor.PID{ctx.Sender()}, listened: queued,
		request: placement.Request{Owner: m.GetOwner(), Type: m.GetType(), Requirements: expr, Avoid: m.GetAvoidServers()}})
}

func (p *placer) parse(text string) (*requirements.Expr, error) {
	if expr, ok := p.parsed.Get(text); ok {
		return expr, nil
	}
	expr, err := requirements.Parse(text)
	if err == nil {
		p.parsed.Add(text, expr)
	}
	return expr, err
}

// try asks the best server that is left.
func (p *placer) try(ctx actor.Context, w *placing) {
	serverID, no := p.index.Pick(w.request)
	if no != nil && p.company && !w.listened {
		p.listen(ctx, w)
		return
	}
	if no != nil || w.tries >= maxTries {
		delete(p.pending, w.place.GetSessionId())
		w.answer(ctx, refused(w.place, noServer(no)))
		return
	}
	w.tries++
	w.serverID, w.deadline = serverID, p.deps.Clock.Now().Add(reserveTime)
	p.index.Reserve(serverID, w.request.Owner, w.request.Type)
	id, tries := w.place.GetSessionId(), w.tries
	p.pending[id] = w
	p.deps.Peers.Tell(messages.KindServer, serverID, &messages.ReserveSlot{ServerId: serverID, SessionId: id,
		Owner: w.request.Owner, Type: w.request.Type}, ctx.Self())
	root, self := p.deps.System.Root, ctx.Self()
	p.deps.Clock.At(w.deadline, func() { root.Send(self, &reserveOverdue{id, tries}) })
}

// listen tries again in a moment: a client may have seen a server at another broker
// that this one has not heard of yet.
func (p *placer) listen(ctx actor.Context, w *placing) {
	w.listened, w.serverID = true, ""
	w.tries++ // the server that was asked last is not waited for any more
	id := w.place.GetSessionId()
	p.pending[id] = w
	root, self := p.deps.System.Root, ctx.Self()
	p.deps.Clock.At(p.deps.Clock.Now().Add(hearsay), func() { root.Send(self, &listenedFor{id}) })
}

func (p *placer) onReserved(ctx actor.Context, m *messages.SlotReserved) {
	w := p.settle(m.GetSessionId(), m.GetServerId(), m.GetView())
	if w == nil {
		return // too late: it was released when it was overdue, and may be reserved anew since
	}
	delete(p.pending, m.GetSessionId())
	w.answer(ctx, &messages.PlacementGranted{SessionId: m.GetSessionId(), ServerId: m.GetServerId(), MachineId: m.GetMachineId()})
}

func (w *placing) answer(ctx actor.Context, answer any) {
	for _, asker := range w.askers {
		respond(ctx, asker, answer)
	}
}

func (p *placer) onRefused(ctx actor.Context, m *messages.SlotRefused) {
	if m.GetRefusal().GetCode() == messages.CodeServerNotFound {
		p.index.Remove(m.GetServerId())
	}
	if w := p.settle(m.GetSessionId(), m.GetServerId(), m.GetView()); w != nil {
		p.try(ctx, w)
	}
}

// onOverdue: the server's grain did not answer; others are tried first from now on.
func (p *placer) onOverdue(ctx actor.Context, m *reserveOverdue) {
	w := p.pending[m.sessionID]
	if w == nil || w.tries != m.tries {
		return
	}
	p.deps.Logger.Warn("server grain did not answer a reservation", "server", w.serverID, "session", m.sessionID)
	p.index.Settle(w.serverID, w.request.Owner, w.request.Type, nil)
	p.deps.Peers.Tell(messages.KindServer, w.serverID, &messages.ReleaseSlot{ServerId: w.serverID, SessionId: m.sessionID}, nil)
	w.request.Avoid = append(w.request.Avoid[:len(w.request.Avoid):len(w.request.Avoid)], w.serverID)
	p.try(ctx, w)
}

// settle ends the pending count of an answered reservation; nil if it is not the one
// that is waited for.
func (p *placer) settle(sessionID, serverID string, view *messages.ServerView) *placing {
	w := p.pending[sessionID]
	if w == nil || w.serverID != serverID {
		return nil
	}
	p.index.Settle(serverID, w.request.Owner, w.request.Type, view)
	return w
}

// roomMayHaveChanged wakes the queue once per burst of news.
func (p *placer) roomMayHaveChanged(ctx actor.Context) {
	if p.watcher == nil || p.told {
		return
	}
	p.told = true
	ctx.Send(p.watcher, &messages.RoomChanged{})
	ctx.Send(ctx.Self(), &roomTold{})
}

func refused(place *messages.PlaceSession, why *messages.Refusal) *messages.PlacementRefused {
	return &messages.PlacementRefused{SessionId: place.GetSessionId(), Refusal: why}
}

func noServer(no *placement.Refused) *messages.Refusal {
	if no == nil {
		return &messages.Refusal{Code: messages.CodeNoServer, RetryAfterMs: 1000,
			Detail: "many servers refused one after the other: the fleet is filling up right now"}
	}
	return no.Refusal()
}
