package actors

import (
	"github.com/asynkron/protoactor-go/cluster"

	"opensessionmanager/actors/roster"
)

// Start spawns the actors that every broker has, with what the store held already on
// the roster, and fills in d.
func Start(d *Deps, builder *roster.Builder) {
	StartPlacer(d, builder.Snapshot())
	StartRoster(d, builder)
}

// Kinds are the grain kinds of a broker.
func Kinds(d *Deps) []*cluster.Kind {
	return []*cluster.Kind{SessionKind(d), ServerKind(d), QueueKind(d)}
}
