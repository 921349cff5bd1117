package actors

import (
	"maps"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

const (
	// graveTime is how long a removed object is remembered, so that an older picture of
	// it, on its way through another broker, does not bring it back.
	graveTime = 10 * time.Minute
	// purgeEvery is how often is looked which of them are to be forgotten.
	purgeEvery = time.Minute
)

type grave struct {
	version int64
	until   time.Time
}

type purgeTick struct{}

// drop forgets what another broker removed, unless something newer is known.
func (r *rosterActor) drop(ctx actor.Context, sessions, servers []*messages.Removal) {
	snapshot := r.builder.Snapshot()
	for _, gone := range sessions {
		r.bury(ctx, "session/", gone)
		if known, ok := snapshot.Session(gone.GetId()); ok && known.View.GetVersion() <= gone.GetVersion() {
			r.builder.RemoveSession(gone.GetId())
		}
	}
	for _, gone := range servers {
		r.bury(ctx, "server/", gone)
		if known, ok := snapshot.Server(gone.GetId()); ok && known.View.GetVersion() <= gone.GetVersion() {
			r.builder.RemoveServer(gone.GetId())
			ctx.Send(r.deps.Placer, &serverGone{gone.GetId()})
		}
	}
}

// bury is also done by a broker that is alone: one that joins may bring older pictures.
func (r *rosterActor) bury(ctx actor.Context, kind string, gone *messages.Removal) {
	r.replication.graves[kind+gone.GetId()] = grave{gone.GetVersion(), r.deps.Clock.Now().Add(graveTime)}
	r.purgeLater(ctx)
}

func (r *rosterActor) purgeLater(ctx actor.Context) {
	p := r.replication
	if p.purging || len(p.graves) == 0 {
		return
	}
	p.purging = true
	root, self := ctx.ActorSystem().Root, ctx.Self()
	r.deps.Clock.At(r.deps.Clock.Now().Add(purgeEvery), func() { root.Send(self, &purgeTick{}) })
}

// onPurge forgets removals that no older picture can come after any more. There may be
// tens of thousands, hence not with each heartbeat.
func (r *rosterActor) onPurge(ctx actor.Context) {
	p, now := r.replication, r.deps.Clock.Now()
	p.purging = false
	maps.DeleteFunc(p.graves, func(_ string, g grave) bool { return now.After(g.until) })
	r.purgeLater(ctx)
}
