package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// maxSwitches is how many requests to open or close a server are remembered. Copies of
// a request come for as long as somebody waits for its answer, half a minute, and nobody
// switches a server twice a second for so long.
const maxSwitches = 64

func (g *serverGrain) onOpen(ctx actor.Context, m *messages.OpenServer, sender *actor.PID) {
	g.setClosed(ctx, false, m.GetRequestId(), m.GetRequestedBy(), sender)
}

func (g *serverGrain) onCloseServer(ctx actor.Context, m *messages.CloseServer, sender *actor.PID) {
	if n := g.srv.Count(); g.record != nil && !m.GetForce() && n.Console+n.Virtual > 0 && !slices.Contains(g.switches, m.GetRequestId()) {
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeServerHasSessions,
			Detail: "sessions run on the server; use Force to close it and let them run"})
		return
	}
	g.setClosed(ctx, true, m.GetRequestId(), m.GetRequestedBy(), sender)
}

// setClosed acts at once, so that nothing more lands here, and answers when the flag
// is durable (F43). A copy of a request that was done is only answered: others may have
// switched the server since.
func (g *serverGrain) setClosed(ctx actor.Context, closed bool, request, by string, sender *actor.PID) {
	if g.record == nil {
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeServerNotFound, Detail: "no server with this id"})
		g.retireIfEmpty()
		return
	}
	if !slices.Contains(g.switches, request) {
		g.deps.Logger.Info("server placement switched", "server", g.id, "closed", closed, "by", by)
		g.srv.Closed = closed
		g.remember(request)
	}
	g.saveThen(ctx, sender, func() any { return g.view() })
}

// remember keeps the id of a request, and with the record also for the next activation.
func (g *serverGrain) remember(request string) {
	if request == "" { // of a broker that does not tell copies apart
		return
	}
	kept := g.switches[max(0, len(g.switches)-maxSwitches+1):]
	g.switches = append(slices.Clone(kept), request)
}
