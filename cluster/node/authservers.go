package node

import (
	"context"

	"opensessionmanager/http/audit"
	"opensessionmanager/http/oauth/authserver"
)

// takePending takes in the authorization servers that were registered while no broker
// ran. A note that is no good does not keep the broker from starting.
func (n *Node) takePending(ctx context.Context) {
	err := authserver.TakePending(n.workingPath(), func(s authserver.Server) error {
		event := audit.Event{Act: "register-auth-server", Outcome: audit.Done, Client: "administrator", Subject: s.URL, Reason: "it was registered before the start"}
		if err := n.auth.AuthServers().Register(ctx, s); err != nil {
			event.Outcome, event.Reason = audit.Refused, err.Error()
			n.audit.RecordFrom(audit.Origin{}, event)
			return err
		}
		n.audit.RecordFrom(audit.Origin{}, event)
		n.log.Info("authorization server registered before the start", "url", s.URL)
		return nil
	})
	if err != nil {
		n.log.Error("an authorization server that was registered before the start is not in use", "error", err)
	}
	if cfg := n.opt.Config.Authorization; cfg.EnableServer || !cfg.EnableClient {
		return
	}
	if n.auth.AuthServers().Count() == 0 {
		n.log.Warn("nobody can use the API: the broker issues no tokens, and no authorization server is registered; run register-auth-server",
			"key", "enable-authorization-server")
	}
}
