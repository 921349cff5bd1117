package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cmd/internal/history"
)

// script writes histories by hand: each operation takes the times it is given.
type script struct{ history.History }

func (s *script) op(call, end int64, op history.Operation) *script {
	op.Call, op.Return = call, end
	if op.Outcome == "" {
		op.Outcome = history.Done
	}
	s.Operations = append(s.Operations, op)
	return s
}

func (s *script) create(call, end int64) *script {
	return s.op(call, end, history.Operation{Kind: history.Create, Session: "s", Name: "n", Owner: "ann"})
}

func (s *script) delete(call, end int64) *script {
	return s.op(call, end, history.Operation{Kind: history.Delete, Session: "s"})
}

// read is a describe by id; an empty state is absence.
func (s *script) read(call, end int64, state string) *script {
	op := history.Operation{Kind: history.Sessions, IDs: []string{"s"}}
	if state != "" {
		op.Seen = map[string]history.Sight{"s": {State: state}}
	}
	return s.op(call, end, op)
}

func (s *script) flag(call, end int64, kind history.Kind, outcome history.Outcome) *script {
	return s.op(call, end, history.Operation{Kind: kind, Server: "a", Outcome: outcome})
}

func (s *script) server(call, end int64, state string) *script {
	return s.op(call, end, history.Operation{Kind: history.Servers, Seen: map[string]history.Sight{"a": {State: state}}})
}

func (s *script) stay(host string, from, to int64, owner, session string) *script {
	s.Stays = append(s.Stays, history.Stay{Host: host, Server: host, Session: session, Owner: owner, Called: from, From: from, To: to})
	return s
}

func (s *script) permit(call, end int64, text string, outcome history.Outcome) *script {
	return s.op(call, end, history.Operation{Kind: history.Permit, Session: "s", Text: text, Outcome: outcome})
}

func (s *script) peek(at int64, text string) *script {
	return s.op(at, at, history.Operation{Kind: history.Peek, Session: "s", Text: text})
}

func is(outcome history.Outcome, code string, kind history.Kind) history.Operation {
	return history.Operation{Kind: kind, Session: "s", Outcome: outcome, Code: code}
}

func begin() *script { return &script{} }

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	lost := begin().op(1, 2, history.Operation{Kind: history.Create, Session: "s", Name: "n", MayFail: true}).read(3, 4, "READY").read(7, 8, "")
	lost.Forgets = true
	const open, closed = history.OpenServer, history.CloseServer
	for name, s := range map[string]*script{
		"absent after it was created":            begin().create(1, 2).read(3, 4, ""),
		"forgotten although it was READY":        lost,
		"absent in a list":                       begin().create(1, 2).op(3, 4, history.Operation{Kind: history.Sessions}),
		"READY after it was deleted":             begin().create(1, 2).read(3, 4, "READY").delete(5, 6).read(7, 8, "READY"),
		"CREATING after it was deleted":          begin().create(1, 2).delete(5, 6).read(7, 8, "CREATING"),
		"deleted by nobody":                      begin().create(1, 2).read(3, 4, "READY").read(5, 6, "DELETED"),
		"deleting by nobody":                     begin().create(1, 2).read(3, 4, "DELETING"),
		"shown before it was asked for":          begin().create(3, 4).read(1, 2, "CREATING"),
		"deleted before anybody asked":           begin().create(1, 2).read(3, 4, "DELETED").delete(5, 6),
		"absent although it is remembered":       begin().create(1, 2).delete(3, 4).read(5, 6, ""),
		"deleted in the name of a stranger":      begin().create(1, 2).op(3, 4, history.Operation{Kind: history.Delete, Session: "s", Stray: true}),
		"not found by its owner":                 begin().create(1, 2).op(3, 4, is(history.Refused, "SESSION_NOT_FOUND", history.Delete)),
		"deleted already, says one":              begin().create(1, 2).op(3, 4, is(history.Refused, "SESSION_DELETED", history.Delete)),
		"permissions of a deleted session":       begin().create(1, 2).delete(3, 4).permit(5, 6, "x", history.Done),
		"connection to a deleted session":        begin().create(1, 2).delete(3, 4).op(5, 6, is(history.Done, "", history.Connect)),
		"no connection to a session there is":    begin().create(1, 2).op(5, 6, is(history.Refused, "SESSION_NOT_FOUND", history.Connect)),
		"open after it was closed":               begin().flag(1, 2, closed, history.Done).server(3, 4, "AVAILABLE"),
		"full after it was closed":               begin().flag(1, 2, closed, history.Done).server(3, 4, "SERVER_FULL"),
		"closed after it was opened":             begin().flag(1, 2, closed, history.Done).flag(3, 4, open, history.Done).server(5, 6, "SERVER_CLOSED"),
		"closed by nobody":                       begin().server(1, 2, "SERVER_CLOSED").flag(3, 4, closed, history.Done),
		"a server that is gone":                  begin().flag(1, 2, open, history.Done).op(3, 4, history.Operation{Kind: history.Servers}),
		"a server that is not found":             begin().op(3, 4, history.Operation{Kind: history.OpenServer, Server: "a", Outcome: history.Refused, Code: "SERVER_NOT_FOUND"}),
		"landed on a closed server":              begin().flag(1, 2, closed, history.Done).create(3, 4).stay("a", 5, 9, "ann", "s"),
		"closed, open, closed again and seen":    begin().flag(1, 2, closed, history.Done).flag(3, 4, open, history.Done).flag(5, 6, closed, history.Done).server(7, 8, "AVAILABLE"),
		"an older permission wins":               begin().create(1, 2).permit(3, 4, "x", history.Done).permit(5, 6, "y", history.Done).peek(7, "x"),
		"a permission is lost":                   begin().create(1, 2).permit(3, 4, "x", history.Done).peek(7, ""),
		"a permission of nobody":                 begin().create(1, 2).permit(3, 4, "x", history.Unknown).peek(2, "x"),
		"on two hosts":                           begin().create(1, 2).stay("a", 3, 9, "ann", "s").stay("b", 5, 7, "ann", "s"),
		"two sessions of one request":            begin().create(1, 2).op(3, 4, history.Operation{Kind: history.Create, Session: "t", Name: "n"}),
		"a refused create":                       begin().op(1, 2, history.Operation{Kind: history.Create, Name: "n", Outcome: history.Refused}).op(3, 4, history.Operation{Kind: history.Sessions, Seen: map[string]history.Sight{"t": {State: "DELETED", Name: "n"}}}),
		"READY, and deleted before it was asked": begin().create(1, 2).read(3, 4, "READY").read(5, 6, "DELETED").delete(7, 8),
	} {
		require.NotEmpty(t, history.Check(s.History, time.Minute), name)
	}
}

func TestCheck_AllowsWhatIsPromised(t *testing.T) {
	t.Parallel()
	const open, closed = history.OpenServer, history.CloseServer
	late := begin().op(1, 2, history.Operation{Kind: history.Create, Name: "n", Outcome: history.Unknown}).read(3, 4, "")
	late.op(5, 6, history.Operation{Kind: history.Sessions, Seen: map[string]history.Sight{"s": {State: "READY", Name: "n"}}}).read(7, 8, "DELETED")
	failing := begin().op(1, 2, history.Operation{Kind: history.Create, Session: "s", Name: "n", MayFail: true}).read(3, 4, "DELETED")
	forgotten := begin().create(1, 2).delete(3, 4).read(5, 6, "DELETED").read(7, 8, "")
	forgotten.Forgets = true
	unseen := begin().op(1, 2, history.Operation{Kind: history.Create, Session: "s", Name: "n", MayFail: true}).read(3, 4, "CREATING").read(7, 8, "")
	unseen.Forgets = true
	for name, s := range map[string]*script{
		"a life":                                begin().read(0, 0, "").create(1, 2).read(3, 4, "CREATING").read(5, 6, "READY").delete(7, 8).read(9, 10, "DELETING").read(11, 12, "DELETED"),
		"brokers differ while it is deleted":    begin().create(1, 2).delete(3, 9).read(4, 5, "DELETING").read(6, 7, "READY").read(10, 11, "DELETING"),
		"brokers differ while it is created":    begin().create(1, 9).read(2, 3, "CREATING").read(4, 5, "").read(10, 11, "READY"),
		"what only the host knows comes late":   begin().create(1, 2).read(3, 4, "READY").read(5, 6, "CREATING").read(7, 8, "UNKNOWN"),
		"a lost delete that happened later":     begin().create(1, 2).op(3, 4, is(history.Unknown, "", history.Delete)).read(5, 6, "READY").read(7, 8, "DELETED"),
		"a create that came to be and was over": late,
		"one that its host could not make":      failing,
		"what is over is forgotten":             forgotten,
		"what failed is forgotten unseen":       unseen,
		"no permission while it is created":     begin().create(1, 2).op(3, 4, is(history.Refused, "SESSION_NOT_READY", history.Permit)),
		"a permission just before the end":      begin().create(1, 2).permit(3, 6, "x", history.Done).delete(4, 5),
		"closing takes its time":                begin().flag(1, 9, closed, history.Done).server(2, 3, "SERVER_CLOSED").server(4, 5, "AVAILABLE").server(10, 11, "SERVER_CLOSED"),
		"a close whose answer was lost":         begin().flag(1, 2, closed, history.Unknown).server(3, 4, "AVAILABLE").server(5, 6, "SERVER_CLOSED").flag(7, 8, open, history.Done).server(9, 10, "SERVER_FULL"),
		"unreachable says nothing":              begin().flag(1, 2, closed, history.Done).server(3, 4, "UNREACHABLE_AGENT"),
		"landed before it was closed":           begin().create(1, 2).flag(3, 4, closed, history.Done).stay("a", 5, 9, "ann", "s"),
		"landed after it was opened":            begin().flag(1, 2, closed, history.Done).create(3, 4).flag(5, 6, open, history.Done).stay("a", 7, 9, "ann", "s"),
		"either of two permissions wins":        begin().create(1, 2).permit(3, 6, "x", history.Done).permit(4, 5, "y", history.Done).peek(7, "x").peek(8, "x"),
		"a permission that came late":           begin().create(1, 2).permit(3, 4, "x", history.Unknown).permit(5, 6, "y", history.Done).peek(7, "y").peek(8, "x"),
		"moved to another host":                 begin().create(1, 2).stay("a", 3, 5, "ann", "s").stay("b", 5, 7, "ann", "s"),
	} {
		require.Empty(t, history.Check(s.History, time.Minute), name)
	}
}

func TestCheck_FindsOverbookedHosts(t *testing.T) {
	t.Parallel()
	s := begin().stay("a", 1, 9, "ann", "1").stay("a", 2, 4, "ann", "2").stay("a", 4, 9, "bob", "3")
	for limits, wrong := range map[history.Limits]bool{
		{Virtual: -1, PerUser: -1}: false,
		{Virtual: 2, PerUser: 2}:   false,
		{Virtual: 1, PerUser: 2}:   true,
		{Virtual: 2, PerUser: 1}:   true,
	} {
		s.Limits = map[string]history.Limits{"a": limits}
		require.Equal(t, wrong, len(history.Check(s.History, time.Minute)) > 0, "%+v", limits)
	}
	twice := begin()
	twice.Limits = map[string]history.Limits{"a": {Virtual: -1, PerUser: -1, Console: 1}}
	for _, id := range []string{"1", "2"} {
		twice.Stays = append(twice.Stays, history.Stay{Host: "a", Session: id, Console: true, From: 1, To: history.Never})
	}
	require.NotEmpty(t, history.Check(twice.History, time.Minute))
}
