package rest

import (
	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// deleteSessions asks for the end of sessions. A wrong owner looks like a session
// that does not exist, so that ids cannot be guessed (contract section 1.6).
func (s *Server) deleteSessions(c *call, in *[]deleteSessionRequest) error {
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	outcomes := dispatch(items,
		func(_ int, item *deleteSessionRequest) (*messages.DeleteSession, *messages.Refusal) {
			return &messages.DeleteSession{
				SessionId: item.SessionID, Owner: item.Owner, Force: item.Force, RequestedBy: c.principal.ClientID,
			}, checkSession(item.SessionID, item.Owner)
		},
		func(commands []*messages.DeleteSession) []*messages.SessionResult {
			return s.cfg.Fleet.DeleteSessions(ctx, commands)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event { return audit.Event{Session: items[i].SessionID, Owner: items[i].Owner} },
		func(b []byte, i int, _ *messages.SessionResult) []byte {
			return appendText(appendText(b, "SessionId", items[i].SessionID), "State", "DELETING")
		},
		func(b []byte, i int) []byte { return appendText(b, "SessionId", items[i].SessionID) })
}
