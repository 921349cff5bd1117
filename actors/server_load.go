package actors

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// rosterPause is how long a server waits for a roster that is behind before it looks again.
const rosterPause = 50 * time.Millisecond

func (g *serverGrain) load() {
	g.busy = true
	g.fetch()
}

func (g *serverGrain) fetch() {
	g.deps.Store.Load(g.key(), func(r persistence.Record, err error) {
		g.deps.System.Root.Send(g.self, &serverLoaded{r, err})
	})
}

// onWake looks at the store if that may hold something else than is known here; what is
// being saved may have been there before that. And what its agent was told may have been
// lost on the way.
func (g *serverGrain) onWake(ctx actor.Context, m *messages.Wake) {
	switch {
	case m.GetCheck() && g.saving:
		g.unsure = true
	case m.GetCheck() && g.record != nil:
		g.load()
		return
	}
	g.remind(ctx)
	g.retireIfEmpty()
}

func (g *serverGrain) onLoaded(ctx actor.Context, m *serverLoaded) {
	if !g.loaded && g.deps.Roster.Incomplete() != nil {
		// The slots are rebuilt from the roster: wait until it has everything.
		g.deps.Clock.At(g.deps.Clock.Now().Add(rosterPause), g.fetch)
		return
	}
	g.busy = false
	known, before := g.record != nil, g.version
	record := &messages.ServerRecord{}
	switch err := m.err; {
	case errors.Is(err, persistence.ErrNotFound) && known && !g.erasing:
		g.version = 0 // somebody deleted it: it is written anew
	case errors.Is(err, persistence.ErrNotFound):
		g.record, g.version = nil, 0
	case err == nil:
		err = proto.Unmarshal(m.record.Data, record)
		if err == nil {
			g.record, g.version = record, m.record.Version
			break
		}
		fallthrough
	default:
		g.onLoadFailed(ctx, err)
		return
	}
	g.erasing = false
	switch {
	case !g.loaded:
		g.loaded = true
		g.restore()
	case g.record == nil && g.link == nil:
		if known {
			g.forgotten() // the delete had happened although nobody could say so
		}
	case g.version == 0:
		g.rewrite(ctx)
	case g.version != before: // written by an activation before this one, after it was read here
		if entry, ok := g.deps.views().Server(g.id); ok {
			g.shown = max(g.shown, entry.View.GetVersion())
		}
		g.srv.Closed, g.switches = g.record.GetClosed(), g.record.GetSwitchRequests()
		g.publish(nil, nil)
	}
	g.backlog.drain(func() bool { return g.busy }, func(m mail) { g.handle(ctx, m) })
	g.retireIfEmpty()
}

func (g *serverGrain) onLoadFailed(ctx actor.Context, err error) {
	g.deps.Logger.Error("server could not be loaded; trying again", "server", g.id, "error", err)
	g.busy = true
	g.deps.Clock.At(g.deps.Clock.Now().Add(time.Second), g.fetch)
}

// rewrite makes the record again that somebody deleted from the store.
func (g *serverGrain) rewrite(ctx actor.Context) {
	if g.record == nil {
		return // an agent that is just coming in, see saveThen
	}
	if g.failed { // do not press a store that takes nothing
		g.failed = false
		g.deps.Clock.At(g.deps.Clock.Now().Add(time.Second), func() {
			g.deps.Peers.Tell(messages.KindServer, g.id, &messages.Wake{Check: true}, nil)
		})
		return
	}
	g.deps.Logger.Warn("the record of a server is gone from the store: writing it anew", "server", g.id, "closed", g.srv.Closed)
	g.saveThen(ctx, nil, nil)
}

// recall makes the record again of what readers see, if they see the server at all.
func (g *serverGrain) recall() {
	entry, shown := g.deps.views().Server(g.id)
	if g.record != nil || !shown {
		return
	}
	g.record = &messages.ServerRecord{Id: g.id, MachineId: entry.View.GetMachineId(), Closed: entry.View.GetClosed(),
		Facts: entry.View.GetFacts(), CreatedUnixMs: g.deps.Clock.Now().UnixMilli(), AgentClientId: entry.View.GetAgentClientId(),
		Unreachable: !entry.View.GetReachable()}
}

// restore rebuilds the slots from the sessions that are bound to this server. A
// server without a socket counts as away from now on.
func (g *serverGrain) restore() {
	now := g.deps.Clock.Now()
	g.recall()
	if g.record != nil {
		g.srv.MachineID, g.srv.Closed, g.srv.Facts = g.record.GetMachineId(), g.record.GetClosed(), g.record.GetFacts()
		g.switches = g.record.GetSwitchRequests()
		// One that was there is believed to be for the grace time; one that was away
		// still is, until its agent says otherwise.
		g.lost, g.srv.Reachable = g.record.GetUnreachable(), !g.record.GetUnreachable()
		g.srv.ClientID = g.record.GetAgentClientId()
		g.away = now
		g.arm(now.Add(g.deps.Config.Grace))
	}
	if entry, ok := g.deps.views().Server(g.id); ok {
		g.shown = entry.View.GetVersion()
	}
	g.takeOver(g.id)
	g.srv.Slots(func(s *server.Slot) {
		if s.Phase == server.Closing { // its host may still be making it: no report says that it is gone
			g.closes[s.DCVID] = &messages.CloseSession{ServerId: g.id, SessionId: s.SessionID, DcvId: s.DCVID, Owner: s.Owner}
		}
	})
	switch {
	case g.record != nil && g.version == 0:
		g.rewrite(nil)
	case g.record != nil:
		g.publish(nil, nil)
	}
}

// takeOver holds a slot for each session that the roster shows on a server.
func (g *serverGrain) takeOver(serverID string) {
	for _, entry := range g.deps.views().SessionsOn(serverID) {
		if slot, holds := slotOf(entry, serverID); holds && g.srv.Slot(slot.SessionID) == nil {
			g.srv.Hold(slot)
			if slot.Phase != server.Live { // what it asked of an activation before this one
				g.tellSession(slot.SessionID, &messages.Wake{})
			}
		}
	}
}

func slotOf(entry *roster.Session, serverID string) (server.Slot, bool) {
	v := entry.View
	slot := server.Slot{SessionID: v.GetId(), DCVID: v.GetDcvId(), Owner: v.GetOwner(), Type: v.GetType(),
		External: v.GetExternal(), BoundTo: serverID}
	switch v.GetState() {
	case messages.SessionState_SESSION_STATE_CREATING:
		slot.Phase = server.Launching
	case messages.SessionState_SESSION_STATE_READY, messages.SessionState_SESSION_STATE_UNKNOWN:
		slot.Phase = server.Live
	case messages.SessionState_SESSION_STATE_DELETING:
		slot.Phase = server.Closing
	default:
		return slot, false
	}
	return slot, true
}

// arm has the grain told at t, unless an earlier alarm stands.
func (g *serverGrain) arm(t time.Time) {
	now := g.deps.Clock.Now()
	if !g.alarm.IsZero() && g.alarm.After(now) && !t.Before(g.alarm) {
		return
	}
	g.alarm = t
	g.deps.Clock.At(t, func() {
		g.deps.Peers.Tell(messages.KindServer, g.id, &messages.DeadlineReached{Stamp: t.UnixMilli()}, nil)
	})
}

// onDeadline looks at everything that depends on time; what is not due is armed anew.
// An alarm that was replaced by an earlier one rings in vain.
func (g *serverGrain) onDeadline(ctx actor.Context, m *messages.DeadlineReached) {
	if g.alarm.IsZero() || m.GetStamp() != g.alarm.UnixMilli() {
		g.retireIfEmpty()
		return
	}
	now := g.deps.Clock.Now()
	g.alarm = time.Time{}
	freed, next := g.srv.Expire(now)
	if freed > 0 {
		g.publish(nil, nil)
	}
	if !next.IsZero() {
		g.arm(next)
	}
	g.onClaimDue(ctx, now)
	g.listen(ctx, now)
	if g.link == nil && g.record != nil && g.successor != "" {
		g.endForSuccessor()
	} else if g.link == nil && g.record != nil {
		g.whileAway(ctx, now)
	}
	g.retireIfEmpty()
}

// whileAway: first unreachable, then its sessions given up if the operator wants
// that, then forgotten.
func (g *serverGrain) whileAway(ctx actor.Context, now time.Time) {
	cfg := g.deps.Config
	if lostAt := g.away.Add(cfg.Grace); now.Before(lostAt) {
		g.arm(lostAt)
		return
	}
	if !g.lost {
		g.lose()
	}
	if cfg.DropSessions > 0 {
		if at := g.away.Add(cfg.DropSessions); now.Before(at) {
			g.arm(at)
		} else {
			g.srv.Slots(func(s *server.Slot) {
				g.tellSession(s.SessionID, &messages.SessionAbandoned{SessionId: s.SessionID, ServerId: g.boundTo(s)})
			})
		}
	}
	if at := g.away.Add(g.dropAfter()); now.Before(at) {
		g.arm(at)
	} else if !g.saving && !g.busy {
		g.erase()
	}
}

// dropAfter is how long the server is remembered: while it has sessions, not shorter
// than these are, for nobody else would end them.
func (g *serverGrain) dropAfter() time.Duration {
	n := g.srv.Count()
	if n.Console+n.Virtual == 0 {
		return g.deps.Config.DropServer
	}
	return max(g.deps.Config.DropServer, g.deps.Config.DropSessions)
}

func (g *serverGrain) lose() {
	g.lost, g.srv.Reachable = true, false
	g.deps.Logger.Warn("server unreachable: its agent is away", "server", g.id, "since", g.away)
	g.publish(nil, nil)
	g.saveThen(nil, nil, nil) // so that a restart does not take it for alive
	g.srv.Slots(func(s *server.Slot) {
		s.See(nil)
		g.tellSession(s.SessionID, &messages.SessionUnreachable{SessionId: s.SessionID, ServerId: g.boundTo(s)})
	})
	for id := range g.launches {
		g.launchFailed(id, messages.CodeUnreachable, "the agent of the server went away")
	}
}

func (g *serverGrain) erase() {
	g.deps.Logger.Warn("server forgotten: its agent stayed away", "server", g.id, "since", g.away)
	g.busy, g.erasing = true, true
	g.deps.Store.Delete(g.key(), g.version, func(err error) { g.deps.System.Root.Send(g.self, &serverErased{err}) })
}

func (g *serverGrain) onErased(ctx actor.Context, m *serverErased) {
	if m.err != nil && !errors.Is(m.err, persistence.ErrNotFound) {
		g.deps.Logger.Error("server could not be forgotten", "server", g.id, "error", m.err)
		g.arm(g.deps.Clock.Now().Add(time.Second))
		g.load() // busy until it is known what the store holds
		return
	}
	g.busy, g.erasing = false, false
	g.record, g.version = nil, 0
	g.forgotten()
	g.backlog.drain(func() bool { return g.busy }, func(m mail) { g.handle(ctx, m) })
	g.retireIfEmpty()
}

// forgotten: the record is gone from the store.
func (g *serverGrain) forgotten() {
	g.deps.Roster.tell(&removeServer{g.id})
	if g.successor != "" {
		g.deps.Peers.Tell(messages.KindServer, g.successor, &messages.ServerEnded{ServerId: g.successor, OldServerId: g.id}, nil)
		g.successor = ""
	}
}

func (g *serverGrain) tellSession(id string, msg proto.Message) {
	g.deps.Peers.Tell(messages.KindSession, id, msg, nil)
}

// boundTo is the server id under which the session of a slot knows its server.
func (g *serverGrain) boundTo(s *server.Slot) string {
	if s.BoundTo != "" {
		return s.BoundTo
	}
	return g.id
}
