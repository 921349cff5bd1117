package rest

import (
	"errors"
	"fmt"

	"opensessionmanager/actors/roster"
	"opensessionmanager/http/audit"
	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
)

// sessionConnectionData hands out what a user needs to connect to a session: the
// session with its server, and a token (contract section 1.8). Whether the user
// may enter is decided by the session's permissions, on the host.
func (s *Server) sessionConnectionData(c *call, in *connectionDataRequest) error {
	if problem := userProblem("The user", in.User); problem != "" {
		return invalid(problem)
	}
	snapshot, refusal := s.cfg.Fleet.Snapshot()
	if refusal != nil {
		return refuse(refusal)
	}
	session, known := snapshot.Session(in.SessionID)
	if !known {
		return refuse(&messages.Refusal{Code: messages.CodeSessionNotFound})
	}
	if refusal := unfitToConnect(snapshot, session.View); refusal != nil {
		return refuse(refusal)
	}
	token, err := s.cfg.Connections.SignConnection(session.View.GetId(), dcvID(session.View), session.View.GetOwner(), in.User)
	if errors.Is(err, oauth.ErrUser) {
		return invalid("The session or the user cannot be named in a token")
	}
	if err != nil {
		return fmt.Errorf("rest: sign connection token: %w", err)
	}
	c.recordItem(audit.Event{Session: session.View.GetId(), Owner: session.View.GetOwner(), User: in.User}, nil)
	c.out = appendName(append(c.out, '{'), "Session")
	c.out = append(appendSession(c.out, snapshot, session), ',')
	c.out = appendText(c.out, "ConnectionToken", token)
	c.endAnswer()
	return nil
}

// unfitToConnect refuses a session nobody can connect to now.
func unfitToConnect(snapshot *roster.Snapshot, v *messages.SessionView) *messages.Refusal {
	if v.GetState() != messages.SessionState_SESSION_STATE_READY {
		return &messages.Refusal{
			Code:   messages.CodeSessionNotReady,
			Detail: "The session is in state " + stateName(v.GetState()),
		}
	}
	if _, known := snapshot.Server(v.GetServerId()); !known {
		return &messages.Refusal{Code: messages.CodeSessionNotReady, Detail: "The server of the session is not known"}
	}
	return nil
}

// dcvID is the id under which the DCV server knows a session.
func dcvID(v *messages.SessionView) string {
	if id := v.GetDcvId(); id != "" {
		return id
	}
	return v.GetId()
}
