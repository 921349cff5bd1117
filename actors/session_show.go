package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

// This file is what readers see of a session, and when whoever asked is told.

func changedForReaders(a, b session.Session) bool {
	return a.State != b.State || a.Connections != b.Connections || !a.Disconnected.Equal(b.Disconnected) ||
		a.Reason != b.Reason || a.StorageRoot != b.StorageRoot || a.ServerID != b.ServerID
}

// over: whatever the session was, it has ended.
func (g *sessionGrain) over() bool {
	return g.now.State == session.Deleted || g.now.State == session.Buried
}

// publish shows the session; whoever asked is answered once every reader sees it.
func (g *sessionGrain) publish(ctx actor.Context, replyTo *actor.PID) {
	g.shown = g.deps.stampAfter(g.shown)
	if g.now.State == session.Buried {
		g.hide(ctx, replyTo)
		return
	}
	view := g.now.View(g.shown)
	g.deps.Roster.tell(&publishSession{view: view, replyTo: replyTo, answer: view})
	for _, asker := range g.askers {
		g.deps.Roster.tell(&publishSession{view: view, replyTo: asker, answer: view})
	}
	g.askers = nil
}

func (g *sessionGrain) answer(refusal *messages.Refusal) {
	for _, asker := range g.askers {
		respond(g.deps.System.Root, asker, refusal)
	}
	g.askers = nil
}

// confirm answers with what was published before, when every reader sees that: it may
// still be on its way.
func (g *sessionGrain) confirm(to *actor.PID) {
	switch {
	case g.now.State == session.Buried:
		respond(g.deps.System.Root, to, g.now.View(g.shown))
	case to != nil:
		view := g.now.View(g.shown)
		g.deps.Roster.tell(&publishSession{view: view, replyTo: to, answer: view})
	}
}

// hide takes the session off every roster; whoever asked is answered at once.
func (g *sessionGrain) hide(ctx actor.Context, replyTo *actor.PID) {
	g.deps.Roster.tell(&removeSession{g.id})
	for _, asker := range append(g.askers, replyTo) {
		respond(ctx, asker, g.now.View(g.shown))
	}
	g.askers = nil
}
