package actors

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

func (g *sessionGrain) key() persistence.Key { return persistence.Key{Kind: RecordSession, ID: g.id} }

func (g *sessionGrain) save(out session.Outcome, replyTo *actor.PID) {
	g.busy = true
	done := func(version int64, err error) {
		g.deps.System.Root.Send(g.self, &sessionSaved{outcome: out, version: version, err: err, replyTo: replyTo})
	}
	data, err := proto.Marshal(out.Next.Record())
	if err != nil {
		done(0, err)
		return
	}
	g.deps.Store.Save(persistence.Record{Key: g.key(), Version: g.version, Data: data}, done)
}

func (g *sessionGrain) onSaved(ctx actor.Context, m *sessionSaved) {
	g.busy = false
	if m.err != nil {
		g.onSaveFailed(ctx, m)
		return
	}
	g.version, g.loaded, g.held = m.version, true, session.Session{}
	g.adopt(ctx, m.outcome, m.replyTo)
	g.checked = true // nobody else has written since
	g.drain(ctx)
	g.checked = false
}

// onSaveFailed: when in doubt, forget. What is true is in the store.
func (g *sessionGrain) onSaveFailed(ctx actor.Context, m *sessionSaved) {
	if changedElsewhere(m.err) && g.version == 0 && len(g.askers) > 0 {
		g.made = &m.outcome.Next
		g.loaded, g.now = false, session.Session{}
		g.fetch()
		return
	}
	g.deps.Logger.Error("session could not be saved", "session", g.id, "to", m.outcome.Next.State, "error", m.err)
	anew := g.version == 0 && len(g.askers) == 0 // a session that lives: the store had lost it, or its host shows it
	g.withdrawn = g.withdrawn || len(g.askers) > 0 && errors.Is(m.err, persistence.ErrUncertain)
	if g.version == 0 && !g.withdrawn && !anew { // else it may be stored, and is bound to its slot
		g.tellServer(m.outcome.Next.ServerID, &messages.ReleaseSlot{ServerId: m.outcome.Next.ServerID, SessionId: g.id})
	}
	if g.version == 0 && !anew && m.outcome.Next.Spec.GetEnqueueRequest() {
		g.deps.Peers.Tell(messages.KindQueue, messages.QueueIdentity, &messages.LeaveQueue{SessionId: g.id}, nil)
	}
	refusal := storeRefusal(m.err) // after what it gives back, so that a repeat finds that free
	respond(ctx, m.replyTo, refusal)
	g.answer(refusal)
	g.doubt()
	if anew {
		g.held = m.outcome.Next
		g.backlog.refuse(ctx, refusal)
	}
	// Load again soon, so that what the stored state owes is not forgotten.
	g.deps.Clock.At(g.deps.Clock.Now().Add(time.Second), func() {
		g.deps.Peers.Tell(messages.KindSession, g.id, &messages.Wake{}, nil)
	})
	g.receiveAgain(ctx)
}

// receiveAgain goes on with what was kept, loading first.
func (g *sessionGrain) receiveAgain(ctx actor.Context) {
	if len(g.backlog.kept) > 0 {
		g.load(ctx)
	}
}

// changedElsewhere: what was to be saved is or will not be there; reading tells.
func changedElsewhere(err error) bool {
	return errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrOvertaken)
}

func storeRefusal(err error) *messages.Refusal {
	if changedElsewhere(err) {
		return &messages.Refusal{Code: messages.CodeBusy, Detail: "the object was changed elsewhere at the same time", RetryAfterMs: 200}
	}
	return &messages.Refusal{Code: messages.CodeStoreUnavailable,
		Detail: "the change could not be made durable; nothing was promised", RetryAfterMs: 1000}
}
