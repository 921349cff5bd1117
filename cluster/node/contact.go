package node

import (
	"context"
	"time"

	"opensessionmanager/http/agentws"
)

const (
	// turnAwayAfter is for how long a broker is out of contact with the fleet before its
	// agents are to go to another one. Contact is lost seconds after the line is, and an
	// agent is to be with another broker after 15 (promise of the agent's README).
	turnAwayAfter = 2 * time.Second
	lookAtContact = 250 * time.Millisecond
)

// followContact turns agents away while this broker is out of contact with others who
// may serve them. What an agent says here then reaches nobody: its sessions would count
// as unreachable although another broker might be within its reach.
func (n *Node) followContact(ctx context.Context, agents *agentws.Server) {
	look := time.NewTicker(lookAtContact)
	defer look.Stop()
	var lost time.Time
	away := false
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		alone := len(n.fleet.View().Members) < 2
		switch err := n.fleet.Contact(); {
		case !n.ready.Load():
		case err == nil || alone:
			lost = time.Time{}
			if away {
				away = false
				n.log.Info("in contact with the fleet again: agents are welcome")
				agents.Welcome()
			}
		case lost.IsZero():
			lost = time.Now()
		case !away && time.Since(lost) > turnAwayAfter:
			away = true
			n.log.Warn("out of contact with the fleet: agents are sent to other brokers", "agents", agents.Count(), "error", err)
			agents.TurnAway("out of contact with the fleet")
		}
	}
}
