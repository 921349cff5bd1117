package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// holdTime is how long pictures of servers are held back that nobody waits for: the session
// goes with them for which the place was taken, and of several pictures only the newest.
// Only placers look at them, and the server's grain has the last word. Whether a server takes
// sessions at all is not held back: clients act upon it.
const holdTime = 5 * time.Millisecond

// outgoing is what the others are told with the next update. The order within one does not
// matter, for every picture and every removal has its version.
type outgoing struct {
	update   *messages.RosterUpdate
	sessions map[string]int // where in the update one is
	servers  map[string]int
	urgent   bool // it is not to be held back
	holding  bool // the clock was told
}

type holdOver struct{}

func newOutgoing() outgoing {
	return outgoing{update: &messages.RosterUpdate{}, sessions: map[string]int{}, servers: map[string]int{}}
}

func (o *outgoing) empty() bool { return isEmpty(o.update) }

// take returns the update and begins the next one.
func (o *outgoing) take() *messages.RosterUpdate {
	update := o.update
	o.update, o.urgent = &messages.RosterUpdate{}, false
	clear(o.sessions)
	clear(o.servers)
	return update
}

// session is for clients, who may go on at another broker.
func (o *outgoing) session(v *messages.SessionView) {
	o.urgent = true
	if at, ok := o.sessions[v.GetId()]; !ok {
		o.sessions[v.GetId()] = len(o.update.Sessions)
		o.update.Sessions = append(o.update.Sessions, v)
	} else if o.update.Sessions[at].GetVersion() < v.GetVersion() {
		o.update.Sessions[at] = v
	}
}

func (o *outgoing) server(v *messages.ServerView) {
	if at, ok := o.servers[v.GetId()]; !ok {
		o.servers[v.GetId()] = len(o.update.Servers)
		o.update.Servers = append(o.update.Servers, v)
	} else if o.update.Servers[at].GetVersion() < v.GetVersion() {
		o.update.Servers[at] = v
	}
}

// all adds another broker's last news.
func (o *outgoing) all(m *messages.RosterUpdate) {
	for _, v := range m.GetSessions() {
		o.session(v)
	}
	for _, v := range m.GetServers() {
		o.server(v)
	}
	o.update.RemovedSessions = append(o.update.RemovedSessions, m.GetRemovedSessions()...)
	o.update.RemovedServers = append(o.update.RemovedServers, m.GetRemovedServers()...)
	o.urgent = true
}

// tellOthers sends what was published; replies wait for the others. Pictures of servers
// alone go with the next news, or soon.
func (r *rosterActor) tellOthers(ctx actor.Context, replies []reply) {
	out := &r.replication.out
	switch {
	case len(replies) > 0 || out.urgent:
		r.send(ctx, replies)
	case !out.empty() && !out.holding:
		out.holding = true
		root, self := ctx.ActorSystem().Root, ctx.Self()
		r.deps.Clock.At(r.deps.Clock.Now().Add(holdTime), func() { root.Send(self, &holdOver{}) })
	}
}

func (r *rosterActor) onHoldOver(ctx actor.Context) {
	out := &r.replication.out
	out.holding = false
	if !out.empty() && !r.replication.alone() {
		r.send(ctx, nil)
	}
}
