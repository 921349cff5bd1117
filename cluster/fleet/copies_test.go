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
