package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// take puts pictures of other brokers on the roster, unless they are older than what
// is known or what was removed.
func (r *rosterActor) take(ctx actor.Context, sessions []*messages.SessionView, servers []*messages.ServerView) {
	for _, v := range sessions {
		if v.GetVersion() > r.replication.graves["session/"+v.GetId()].version {
			r.takeSession(v)
		}
	}
	for _, v := range servers {
		if v.GetVersion() > r.replication.graves["server/"+v.GetId()].version {
			r.takeServer(ctx, v)
		}
	}
}

func (r *rosterActor) takeSession(v *messages.SessionView) {
	before := r.builder.Session(v.GetId())
	if r.builder.PutSession(v) && (before == nil || before.GetState() != v.GetState()) {
		r.checkOwn(messages.KindSession, v.GetId())
	}
}

func (r *rosterActor) takeServer(ctx actor.Context, v *messages.ServerView) {
	before := r.builder.Server(v.GetId())
	if !r.builder.PutServer(v) {
		return
	}
	ctx.Send(r.deps.Placer, v)
	if before == nil || before.GetClosed() != v.GetClosed() {
		r.checkOwn(messages.KindServer, v.GetId())
	}
}

// checkOwn has a grain of this broker look at the store, once readers see the picture: it
// was news of its former owner that came late, after the grain had begun or without one
// having begun, for want of a reason. What that owner had left undone would not be done
// by anybody.
func (r *rosterActor) checkOwn(kind, id string) {
	if r.deps.Owns != nil && r.deps.Owns(kind, id) {
		r.checks = append(r.checks, grainName{kind, id})
	}
}

type grainName struct{ kind, id string }

func (r *rosterActor) wakeChecked() {
	for _, g := range r.checks {
		r.deps.Peers.Tell(g.kind, g.id, &messages.Wake{Check: true}, nil)
	}
	r.checks = nil
}
