package node

import (
	"context"

	"opensessionmanager/http/audit"
)

// dropRevoked closes the sockets of agents that were unregistered, wherever that was
// said: whoever has stolen a host's credentials is out within seconds (F36).
func (n *Node) dropRevoked(ctx context.Context) error {
	agents := n.agents.Load()
	if agents == nil {
		return nil
	}
	connected := agents.ClientIDs()
	if len(connected) == 0 {
		return nil
	}
	revoked, err := n.auth.Agents().Revoked(ctx, connected)
	if err != nil || len(revoked) == 0 {
		return err
	}
	n.log.Warn("agents that were unregistered are disconnected", "sockets", agents.Drop(revoked, "this agent was unregistered"))
	for id := range revoked {
		n.audit.RecordFrom(audit.Origin{}, audit.Event{Act: "disconnect-agent", Outcome: audit.Done, Client: id, Reason: "it was unregistered"})
	}
	return nil
}
