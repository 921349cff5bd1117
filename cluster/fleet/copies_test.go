package fleet

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

// A question that was sent again may be refused by the one and granted by the other:
// a refused create must not come to be (F1, F41).
func TestAsk_RefusalWaitsForTheOtherCopies(t *testing.T) {
	no, busy := &messages.Refusal{Code: messages.CodeNoServer}, &messages.Refusal{Code: messages.CodeBusy}
	away := &messages.Refusal{Code: messages.CodeUnreachable}
	yes, dead := &messages.SessionView{Id: "a"}, &actor.DeadLetterResponse{}
	for name, c := range map[string]struct {
		copies  int
		answers []any
		want    any // nil = waits
	}{
		"one copy is believed":             {1, []any{no}, no},
		"granted after it was refused":     {2, []any{no, yes}, yes},
		"granted first":                    {2, []any{yes, no}, yes},
		"refused twice":                    {2, []any{no, no}, no},
		"refused once":                     {2, []any{no}, nil},
		"refused once, no more heard":      {2, []any{no, &copiesDue{}}, ErrTimeout},
		"busy once, no more heard":         {2, []any{busy, &copiesDue{}}, busy},
		"not reachable now, no more heard": {2, []any{away, &copiesDue{}}, away},
		"the other one reached nobody":     {2, []any{no, dead}, no},
		"refused by two of three, granted": {3, []any{no, no, yes}, yes},
	} {
		r := round{calls: []Call{{Msg: &messages.CreateSession{}}}, asking: &asking{answers: make(chan answer, 4)}, out: make([]any, 1), sent: []copies{{due: c.copies}}, open: 1}
		for _, a := range c.answers {
			r.take(answer{1, a})
		}
		require.Equal(t, c.want, r.out[0], name)
		require.Equal(t, c.want == nil, r.open == 1, name)
	}
}

// The grain was changed elsewhere or is moving: that passes, and nobody has to hear of it
// unless it lasts.
func TestAsk_ARefusalForAMomentIsTriedAgain(t *testing.T) {
	t.Parallel()
	busy := &messages.Refusal{Code: messages.CodeBusy, RetryAfterMs: 200}
	later := &messages.Refusal{Code: messages.CodeBusy, RetryAfterMs: 1000}
	for name, c := range map[string]struct {
		answers []*messages.Refusal
		settled bool
	}{
		"once":                 {[]*messages.Refusal{busy}, false},
		"after each trial":     {[]*messages.Refusal{busy, busy, busy}, true},
		"for more than that":   {[]*messages.Refusal{later}, true},
		"another one after it": {[]*messages.Refusal{busy, {Code: messages.CodeNoServer}}, true},
	} {
		a := &asking{answers: make(chan answer, 4)}
		r := round{calls: []Call{{Msg: &messages.DeleteSession{}}}, asking: a, out: make([]any, 1), sent: []copies{{due: 1}}, open: 1}
		for i, m := range c.answers {
			r.take(answer{1, m})
			if i < len(c.answers)-1 {
				require.IsType(t, &sendAgain{}, (<-a.answers).msg, name)
				r.sent[0].due++
			}
		}
		require.Equal(t, c.settled, r.out[0] != nil, name)
	}
}

// F1: a delete is sent again by a client whose broker died, which had done it. The owner
// that is dead does not answer, and need not: the new one has found the session deleted.
func TestAsk_WhatIsDeletedIsNotWaitedFor(t *testing.T) {
	for code, final := range map[string]bool{
		messages.CodeSessionDeleted: true, messages.CodeSessionNotFound: true, messages.CodeUnreachable: false,
	} {
		r := round{calls: []Call{{Msg: &messages.DeleteSession{}}}, asking: &asking{answers: make(chan answer, 4)},
			out: make([]any, 1), sent: []copies{{due: 2}}, open: 1}
		r.take(answer{1, &messages.Refusal{Code: code}})
		require.Equal(t, final, r.out[0] != nil, code)
	}
}
