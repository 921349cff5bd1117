package rest

import (
	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// updateSessionPermissions replaces the permissions of sessions (contract section 1.7).
func (s *Server) updateSessionPermissions(c *call, in *[]updatePermissionsRequest) error {
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	outcomes := dispatch(items,
		func(_ int, item *updatePermissionsRequest) (*messages.UpdateSessionPermissions, *messages.Refusal) {
			return permissionsCommand(c, item)
		},
		func(commands []*messages.UpdateSessionPermissions) []*messages.SessionResult {
			return s.cfg.Fleet.UpdateSessionPermissions(ctx, commands)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event { return audit.Event{Session: items[i].SessionID, Owner: items[i].Owner} },
		func(b []byte, i int, _ *messages.SessionResult) []byte {
			return appendText(b, "SessionId", items[i].SessionID)
		},
		func(b []byte, i int) []byte { return appendText(b, "SessionId", items[i].SessionID) })
}

func permissionsCommand(c *call, item *updatePermissionsRequest) (*messages.UpdateSessionPermissions, *messages.Refusal) {
	if refusal := checkSession(item.SessionID, item.Owner); refusal != nil {
		return nil, refusal
	}
	if item.PermissionsFile == nil {
		return nil, badItem("PermissionsFile is required")
	}
	file, problem := decodePermissions(*item.PermissionsFile)
	if problem != "" {
		return nil, badItem(problem)
	}
	return &messages.UpdateSessionPermissions{
		SessionId: item.SessionID, Owner: item.Owner, PermissionsFile: file, RequestedBy: c.principal.ClientID,
	}, nil
}
