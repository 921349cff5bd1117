package actors

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// load reads the record, except for a create of an id that no reader has seen: there
// the first save, which must not find a record, is the check.
func (g *sessionGrain) load(ctx actor.Context) {
	if _, isCreate := ctx.Message().(*messages.CreateSession); isCreate && len(g.backlog.kept) == 0 && !g.withdrawn {
		if _, known := g.deps.views().Session(g.id); !known {
			g.loaded, g.unread = true, true
			return
		}
	}
	g.fetch()
}

func (g *sessionGrain) fetch() {
	g.busy, g.unread = true, false
	g.deps.Store.Load(g.key(), func(r persistence.Record, err error) {
		g.deps.System.Root.Send(g.self, &sessionLoaded{r, err})
	})
}

// doubt forgets what this activation believes until the store has been asked.
func (g *sessionGrain) doubt() {
	if g.version != 0 {
		g.held = g.now
	}
	g.loaded, g.version, g.now = false, 0, session.Session{}
}

func (g *sessionGrain) onLoaded(ctx actor.Context, m *sessionLoaded) {
	g.busy, g.checked = false, true
	defer func() { g.checked = false }()
	var record messages.SessionRecord
	switch err := m.err; {
	case errors.Is(err, persistence.ErrNotFound):
		g.loaded, g.version, g.now = true, 0, session.Session{}
		g.settleMade(session.Session{}, cmp.Or(g.refused, storeRefusal(persistence.ErrConflict)))
		g.onRecordMissing()
	case err != nil:
		g.onLoadFailed(ctx, err)
		return
	default:
		if err := proto.Unmarshal(m.record.Data, &record); err != nil {
			g.onLoadFailed(ctx, err)
			return
		}
		g.loaded, g.version = true, m.record.Version
		g.held, g.rewriting = session.Session{}, false
		stored := session.FromRecord(&record)
		g.settleMade(stored, keyReused())
		g.restore(ctx, stored)
	}
	g.withdraw(ctx)
	g.drain(ctx)
	g.retireIfEmpty()
}

// onRecordMissing looks at what readers see and what this activation knew. Only what is
// over is ever forgotten: a broker that did so may have died before it could say so.
// The record of anything else was deleted by somebody, and is made again.
func (g *sessionGrain) onRecordMissing() {
	held, rewriting := g.held, g.rewriting
	g.held, g.rewriting = session.Session{}, false
	entry, shown := g.deps.views().Session(g.id)
	over := shown && entry.View.GetState() == messages.SessionState_SESSION_STATE_DELETED
	if known := shown || held.State != session.Fresh && held.State != session.Deleted && held.State != session.Buried; known && (!over || rewriting) {
		next := held
		if shown {
			next = session.FromView(g.deps.Clock.Now(), entry.View, g.deps.Config.Session).Recall(held)
			g.shown = max(g.shown, entry.View.GetVersion())
		}
		level := slog.LevelError
		if rewriting { // who had it checked says that once for all
			level = slog.LevelDebug
		}
		g.deps.Logger.Log(context.Background(), level, "the record of a session is gone from the store: writing it anew", "session", g.id, "state", next.State)
		g.save(session.Outcome{Next: next, Effects: next.Resume()}, nil)
		return
	}
	for _, waiting := range g.backlog.kept {
		switch waiting.msg.(type) {
		case *messages.Wake, *messages.DeadlineReached: // somebody took it for present
			shown = true
		}
	}
	if shown {
		g.deps.Roster.tell(&removeSession{g.id})
	}
}

func (g *sessionGrain) onLoadFailed(ctx actor.Context, err error) {
	g.deps.Logger.Error("session could not be loaded", "session", g.id, "error", err)
	g.settleMade(session.Session{}, storeRefusal(err))
	g.backlog.refuse(ctx, storeRefusal(err))
	g.loaded, g.version = false, 0
	g.retireIfEmpty()
	g.deps.Clock.At(g.deps.Clock.Now().Add(time.Second), func() {
		g.deps.Peers.Tell(messages.KindSession, g.id, &messages.Wake{}, nil)
	})
}

// settleMade ends a create that found a record. If that is of the same request, an
// activation on another broker made it for us and was ended before it could answer:
// who asked is answered with it.
func (g *sessionGrain) settleMade(stored session.Session, otherwise *messages.Refusal) {
	made := g.made
	if g.made, g.refused = nil, nil; made == nil {
		return
	}
	if made.ServerID != stored.ServerID {
		g.tellServer(made.ServerID, &messages.ReleaseSlot{ServerId: made.ServerID, SessionId: g.id})
	}
	if made.Spec.GetEnqueueRequest() && stored.State != session.Queued {
		g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.LeaveQueue{SessionId: g.id}, nil)
	}
	if len(stored.Digest) == 0 || !bytes.Equal(made.Digest, stored.Digest) {
		g.answer(otherwise)
	}
}

// restore adopts what was stored, joins it with what readers were last shown, and
// takes up what the state owes.
func (g *sessionGrain) restore(ctx actor.Context, stored session.Session) {
	g.now = stored.Reloaded(g.deps.Clock.Now(), g.deps.Config.Session)
	if entry, ok := g.deps.views().Session(g.id); ok {
		g.shown = max(g.shown, entry.View.GetVersion())
		g.now.Connections = entry.View.GetNumOfConnections()
		if g.now.State == session.Ready && entry.View.GetState() == messages.SessionState_SESSION_STATE_UNKNOWN {
			g.now.State = session.Unknown
			g.now.Reason = session.Reason{Code: entry.View.GetReasonCode(), Text: entry.View.GetStateReason()}
		}
	}
	g.armDeadline()
	g.perform(ctx, g.now.Resume())
	g.publish(ctx, nil)
}

// withdraw ends a session that came to be although its create was refused, because
// nobody knew whether it was saved (F41). Whoever asks again wants it after all.
func (g *sessionGrain) withdraw(ctx actor.Context) {
	if !g.withdrawn {
		return
	}
	g.withdrawn = false
	for _, waiting := range g.backlog.kept {
		if again, ok := waiting.msg.(*messages.CreateSession); ok && sameRequest(again, g.now.Digest) {
			return
		}
	}
	if g.version != 0 {
		g.apply(ctx, session.Event{Kind: session.DeleteAsked, Force: true}, nil)
	}
}

func (g *sessionGrain) drain(ctx actor.Context) {
	g.backlog.drain(func() bool { return g.busy || !g.loaded }, func(m mail) { g.handle(ctx, m) })
	if !g.loaded && !g.busy {
		g.receiveAgain(ctx)
	}
}

func (g *sessionGrain) onErased(ctx actor.Context, m *sessionErased) {
	g.busy = false
	if m.err != nil && !errors.Is(m.err, persistence.ErrNotFound) {
		g.onSaveFailed(ctx, &sessionSaved{err: m.err, outcome: session.Outcome{Next: g.now}})
		return
	}
	g.deps.Roster.tell(&removeSession{g.id})
	g.version, g.now = 0, session.Session{}
	g.drain(ctx)
	g.retireIfEmpty()
}

func (g *sessionGrain) perform(ctx actor.Context, effects []session.Effect) {
	for _, e := range effects {
		switch e.Kind {
		case session.Place:
			g.place(ctx)
		case session.Launch:
			g.tellServer(e.ServerID, &messages.LaunchSession{ServerId: e.ServerID, SessionId: g.id, DcvId: g.now.DCVID, Spec: g.now.Spec})
		case session.Close:
			g.tellServer(e.ServerID, &messages.CloseSession{ServerId: e.ServerID, SessionId: g.id, DcvId: g.now.DCVID, Owner: g.now.Spec.GetOwner()})
		case session.ReleaseSlot:
			g.tellServer(e.ServerID, &messages.ReleaseSlot{ServerId: e.ServerID, SessionId: g.id})
		case session.LeaveQueue:
			if g.now.Spec.GetEnqueueRequest() {
				g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.LeaveQueue{SessionId: g.id}, nil)
			}
		}
	}
}

func (g *sessionGrain) tellServer(serverID string, msg proto.Message) {
	if serverID != "" {
		g.deps.Peers.Tell(messages.KindServer, serverID, msg, nil)
	}
}

// bindIfMoved tells a server about a session that came to it without a reservation.
func (g *sessionGrain) bindIfMoved(before session.Session, effects []session.Effect) {
	if !g.now.OnHost() || before.OnHost() && before.ServerID == g.now.ServerID {
		return
	}
	for _, e := range effects {
		if e.Kind == session.Launch {
			return
		}
	}
	g.tellServer(g.now.ServerID, &messages.SessionBound{ServerId: g.now.ServerID, SessionId: g.id, DcvId: g.now.DCVID,
		Owner: g.now.Spec.GetOwner(), Type: g.now.Spec.GetType(), External: g.now.External})
}
