package rest

import (
	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// openServers lets sessions be placed on servers again (contract section 1.10).
func (s *Server) openServers(c *call, in *[]openServerRequest) error {
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	outcomes := dispatch(items,
		func(_ int, item *openServerRequest) (*messages.OpenServer, *messages.Refusal) {
			return &messages.OpenServer{ServerId: item.ServerID, RequestedBy: c.principal.ClientID}, checkServer(item.ServerID)
		},
		func(commands []*messages.OpenServer) []*messages.ServerResult {
			return s.cfg.Fleet.OpenServers(ctx, commands)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event { return audit.Event{Server: items[i].ServerID} },
		func(b []byte, i int, _ *messages.ServerResult) []byte {
			return appendText(b, "ServerId", items[i].ServerID)
		},
		func(b []byte, i int) []byte { return appendEcho(b, "OpenServerRequestData", &items[i]) })
}

// closeServers keeps new sessions away from servers. Sessions that are there stop
// it unless Force is set, and keep running if it is.
func (s *Server) closeServers(c *call, in *[]closeServerRequest) error {
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	outcomes := dispatch(items,
		func(_ int, item *closeServerRequest) (*messages.CloseServer, *messages.Refusal) {
			force := item.Force != nil && *item.Force
			return &messages.CloseServer{ServerId: item.ServerID, Force: force, RequestedBy: c.principal.ClientID}, checkServer(item.ServerID)
		},
		func(commands []*messages.CloseServer) []*messages.ServerResult {
			return s.cfg.Fleet.CloseServers(ctx, commands)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event { return audit.Event{Server: items[i].ServerID} },
		func(b []byte, i int, _ *messages.ServerResult) []byte {
			return appendText(b, "ServerId", items[i].ServerID)
		},
		func(b []byte, i int) []byte { return appendEcho(b, "CloseServerRequestData", &items[i]) })
}

func checkServer(id string) *messages.Refusal {
	if id == "" {
		return badItem("ServerId is required")
	}
	if !plausible(id) {
		return &messages.Refusal{Code: messages.CodeServerNotFound}
	}
	return nil
}
