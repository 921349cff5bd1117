package actors

import (
	"bytes"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

func (g *sessionGrain) onCreate(ctx actor.Context, m *messages.CreateSession, sender *actor.PID) {
	switch {
	case g.version != 0 || g.now.State != session.Fresh:
		g.repeat(ctx, m, sender)
	case len(g.askers) == 0:
		g.now = session.New(g.deps.Clock.Now(), g.id, m.GetSpec(), m.GetRequestDigest())
		g.askers = append(g.askers, sender)
		g.place(ctx)
	case sameRequest(m, g.now.Digest): // twice at once
		g.askers = append(g.askers, sender)
	default:
		respond(ctx, sender, keyReused())
	}
}

// onCreateRefused: there is no room. It may be this very session that has taken it: an
// activation on another broker made it and was ended before it could answer (C22).
func (g *sessionGrain) onCreateRefused(refusal *messages.Refusal) {
	if len(g.askers) > 0 && g.unread {
		g.readFirst(refusal)
		return
	}
	g.answer(refusal)
	g.now = session.Session{}
	g.retireIfEmpty()
}

// readFirst has a create that is over looked up in the store; if it is not there either
// whoever asked for it gets the refusal.
func (g *sessionGrain) readFirst(refusal *messages.Refusal) {
	made := g.now
	g.made, g.refused = &made, refusal
	g.loaded, g.now = false, session.Session{}
	g.fetch()
}

// repeat answers a create for an id that exists: the same request gets the same
// answer, another one is refused (N4).
func (g *sessionGrain) repeat(ctx actor.Context, m *messages.CreateSession, sender *actor.PID) {
	if sameRequest(m, g.now.Digest) {
		g.confirm(sender)
		return
	}
	respond(ctx, sender, keyReused())
}

func sameRequest(m *messages.CreateSession, digest []byte) bool {
	return len(digest) > 0 && bytes.Equal(m.GetRequestDigest(), digest)
}

func keyReused() *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeKeyReused,
		Detail: "this Idempotency-Key was used for a request with other content"}
}
