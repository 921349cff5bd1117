package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// resend is how long an answer from another broker may take before the question is
// sent again: its connection may have broken. What is asked is idempotent.
const resend = time.Second

// lastCopies is how long a refusal waits for what the other copies of its question bring.
const lastCopies = 300 * time.Millisecond

// lostAfter is for how long a broker is out of contact with the fleet before it stops
// waiting for answers: nobody can tell whether there will be any.
const lostAfter = 3 * resend

// deadPause is how long a grain that just ended is given to be forgotten.
const deadPause = 5 * time.Millisecond

// A refusal that asks to be tried again within soon is obeyed here, at most mostTries
// times: the grain was changed elsewhere or is moving, and its owner will have settled.
const (
	soon      = 250 * time.Millisecond
	mostTries = 2
)

// Notes of a question to itself: it is to be sent again; its refusal has waited.
type (
	sendAgain struct{}
	copiesDue struct{}
)

// Call is one question to one grain.
type Call struct {
	Kind string
	ID   string
	Msg  proto.Message
}

// asking is one Ask under way: an actor.Process of its own, so that n questions cost
// one registration and one timer. PID.RequestId says which question is answered.
type asking struct {
	answers chan answer
}

type answer struct {
	to  uint32 // index of the call plus one
	msg any
}

// SendUserMessage implements actor.Process. Answers for which there is no room are
// dropped: a few to each question fit in.
func (a *asking) SendUserMessage(pid *actor.PID, message any) {
	_, msg, _ := actor.UnwrapEnvelope(message)
	select {
	case a.answers <- answer{pid.GetRequestId(), msg}:
	default:
	}
}

// SendSystemMessage implements actor.Process.
func (a *asking) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (a *asking) Stop(*actor.PID) {}

// Ask sends each call to its grain and waits for all answers, index-aligned. An
// answer is what the grain responded, or ErrTimeout when it did not within the time
// of ctx. A question is sent again when the fleet changes, for its grain may have asked
// another one of a broker that is gone, when its message certainly reached nobody, and when
// another broker does not answer for a second.
// A question that was sent more than once is refused only when each copy was: as long as
// one may still be acted upon, a refusal of another one would be a lie, but see isFinal.
// A refusal that is to pass within a moment is waited for. A broker that is out of contact
// with the fleet gives up early.
func (f *Fleet) Ask(ctx context.Context, calls []Call) []any {
	a := &asking{answers: make(chan answer, 4*len(calls)+16)}
	self, _ := f.system.ProcessRegistry.Add(a, askName+f.system.ProcessRegistry.NextId())
	defer f.system.ProcessRegistry.Remove(self)
	r := round{f: f, asking: a, calls: calls, self: self, out: make([]any, len(calls)), sent: make([]copies, len(calls)), open: len(calls)}
	for i := range calls {
		r.send(i)
	}
	r.wait(ctx, a.answers)
	for i := range r.out {
		if r.out[i] == nil {
			r.out[i] = ErrTimeout
		}
	}
	return r.out
}

// round is the state of one Ask.
type round struct {
	f      *Fleet
	asking *asking
	calls  []Call
	self   *actor.PID
	out    []any
	sent   []copies
	open   int
}

// copies are where one question went and what came back.
type copies struct {
	owner   string // of the latest
	due     int    // not answered yet
	tries   int    // after refusals that asked for one
	refused *messages.Refusal
}

func (r *round) send(i int) {
	sender := actor.NewPID(r.self.GetAddress(), r.self.GetId())
	sender.RequestId = uint32(i + 1)
	owner, _ := r.f.source.Current().Owner(r.calls[i].Kind, r.calls[i].ID)
	r.sent[i].owner = owner.ID
	r.sent[i].due++
	r.f.Tell(r.calls[i].Kind, r.calls[i].ID, r.calls[i].Msg, sender)
}

func (r *round) wait(ctx context.Context, answers <-chan answer) {
	changed := r.f.viewChanged()
	again := time.NewTimer(resend)
	defer again.Stop()
	var lost time.Duration
	for r.open > 0 {
		select {
		case a := <-answers:
			r.take(a)
		case <-changed:
			changed = r.f.viewChanged()
			r.sendAgain(func(int) bool { return true })
		case <-again.C:
			again.Reset(resend)
			if lost = r.f.lostFor(lost); lost >= lostAfter {
				return
			}
			r.sendAgain(func(i int) bool { return r.sent[i].owner != r.f.self.ID })
		case <-ctx.Done():
			return
		}
	}
}

// lostFor counts the time without contact, in steps of resend.
func (f *Fleet) lostFor(before time.Duration) time.Duration {
	if f.Contact() == nil {
		return 0
	}
	return before + resend
}

func (r *round) take(a answer) {
	i := int(a.to) - 1
	if i < 0 || i >= len(r.out) || r.out[i] != nil {
		return // a second answer to a question that was sent twice
	}
	copies := &r.sent[i]
	switch m := a.msg.(type) {
	case *actor.DeadLetterResponse: // the grain ended between our look and our message
		if copies.due--; copies.refused == nil {
			r.later(deadPause, a.to, &sendAgain{})
		} else if copies.due <= 0 {
			r.settle(i, copies.refused)
		}
	case *sendAgain:
		r.send(i)
	case *copiesDue:
		r.settle(i, undecided(copies.refused))
	case *messages.Refusal:
		copies.due--
		if wait := passesIn(m); wait > 0 && copies.refused == nil && copies.tries < mostTries {
			copies.tries++
			r.later(wait, a.to, &sendAgain{})
		} else if copies.due <= 0 || isFinal(r.calls[i].Msg, m) {
			r.settle(i, m)
		} else if copies.refused == nil {
			copies.refused = m
			r.later(lastCopies, a.to, &copiesDue{})
		}
	default:
		r.settle(i, m)
	}
}

func (r *round) settle(i int, answer any) {
	r.out[i] = answer
	r.open--
}

func (r *round) later(d time.Duration, to uint32, note any) {
	time.AfterFunc(d, func() { r.asking.SendUserMessage(&actor.PID{RequestId: to}, note) })
}

// passesIn is how soon a refusal is likely to be over; 0 if it is not for a moment only.
func passesIn(m *messages.Refusal) time.Duration {
	wait := time.Duration(m.GetRetryAfterMs()) * time.Millisecond
	if m.GetCode() != messages.CodeBusy || wait > soon {
		return 0
	}
	return wait
}

// isFinal says that no copy of a question can change what this refusal says: of a session
// that its owner found deleted in the store, or did not find, nothing is left to delete.
// Had another copy done it, that would have been said instead.
func isFinal(question proto.Message, m *messages.Refusal) bool {
	_, deletes := question.(*messages.DeleteSession)
	return deletes && (m.GetCode() == messages.CodeSessionDeleted || m.GetCode() == messages.CodeSessionNotFound)
}

// undecided is the answer for a question of which one copy was refused and another one
// not answered. A refusal that says nothing for good stands.
func undecided(refused *messages.Refusal) any {
	switch refused.GetCode() {
	case messages.CodeBusy, messages.CodeNotReady, messages.CodeStoreUnavailable, messages.CodeTimeout, messages.CodeUnreachable:
		return refused
	default:
		return ErrTimeout
	}
}

func (r *round) sendAgain(which func(i int) bool) {
	n := 0
	for i := range r.calls {
		if r.out[i] == nil && r.sent[i].refused == nil && which(i) {
			r.send(i)
			n++
		}
	}
	if n > 0 {
		r.f.cfg.Logger.Debug("questions sent again", slog.Int("count", n), slog.Uint64("epoch", r.f.source.Current().Epoch))
	}
}
