package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// far: the link is on another broker. Brokers do not watch each other's actors, and the
// link's last word may be lost between them.
func (g *serverGrain) far() bool {
	return g.link != nil && g.link.GetAddress() != g.self.GetAddress()
}

// patience is how long a link on another broker may say nothing until it is asked. Agents
// report twice in that time, unless they are told to do so less often.
func (g *serverGrain) patience() time.Duration { return 2 * g.deps.Config.Grace }

func (g *serverGrain) listenLater() {
	if g.far() {
		g.arm(g.heard.Add(g.patience()))
	}
}

// listen finds out whether a silent link on another broker is still there: it answers
// within Probe, in the agent's place if need be.
func (g *serverGrain) listen(ctx actor.Context, now time.Time) {
	wait := 2 * g.deps.Config.Probe
	switch {
	case !g.far():
	case g.asking.After(g.heard) && now.Sub(g.asking) >= wait:
		// Should it live after all it says hello again.
		ctx.Send(g.link, &messages.Refusal{Code: messages.CodeNotReady, Detail: "nothing was heard of this link"})
		g.onDetached(ctx, &messages.AgentDetached{ServerId: g.id, Link: g.link, Reason: "nothing is heard of its link on another broker"})
	case g.asking.After(g.heard):
		g.arm(g.asking.Add(wait))
	case now.Sub(g.heard) >= g.patience():
		g.asking = now
		g.describe(ctx, newRequestID())
		g.arm(now.Add(wait))
	default:
		g.listenLater()
	}
}
