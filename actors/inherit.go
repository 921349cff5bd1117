package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/messages"
)

// inherit makes up for what a broker that is gone did not tell everybody: the others
// get its last updates from here, and here everything is asked for if it was not heard
// of for so long that these may not go back far enough.
func (r *rosterActor) inherit(ctx actor.Context, gone *replica) {
	p, now := r.replication, r.deps.Clock.Now()
	r.doubt(ctx, gone)
	last := &messages.RosterUpdate{}
	for _, n := range gone.tail {
		last.Sessions = append(last.Sessions, n.update.GetSessions()...)
		last.Servers = append(last.Servers, n.update.GetServers()...)
		last.RemovedSessions = append(last.RemovedSessions, n.update.GetRemovedSessions()...)
		last.RemovedServers = append(last.RemovedServers, n.update.GetRemovedServers()...)
	}
	if !p.alone() && !isEmpty(last) {
		p.out.all(last)
		r.flushSoon(ctx)
	}
	for _, v := range last.GetSessions() { // its new owner may not have known that it owes something
		if v.GetState() != messages.SessionState_SESSION_STATE_READY {
			r.deps.Peers.Tell(messages.KindSession, v.GetId(), &messages.Wake{}, nil)
		}
	}
	if gone.synced && now.Sub(gone.heard) < tailTime {
		return
	}
	for _, other := range p.others {
		other.synced = false
		r.pull(ctx, other, &messages.RosterPull{})
	}
}

// doubtSettled: the store was asked what a broker that is gone had answered.
type doubtSettled struct{}

// doubt: a broker is gone that this one was behind of already. It may have answered what
// never arrived here, and then nobody but the store knows. Until that was asked this
// broker is behind (promise 3).
func (r *rosterActor) doubt(ctx actor.Context, gone *replica) {
	if r.deps.Doubt == nil || gone.synced && r.deps.Clock.Now().Sub(gone.fresh) <= staleAfter {
		return
	}
	r.replication.doubts++
	root, self := ctx.ActorSystem().Root, ctx.Self()
	unsettled := &r.deps.Roster.unsettled
	unsettled.Add(1)
	r.deps.Doubt(gone.id, !gone.synced, func() { root.Send(self, &doubtSettled{}) }, func() { unsettled.Add(-1) })
}

func (r *rosterActor) onDoubtSettled() {
	r.replication.doubts--
	r.judge()
}

func (o *replica) remember(m *messages.RosterUpdate, now time.Time) {
	if !isEmpty(m) {
		o.tail = append(o.tail, news{m, now})
	}
}

func (o *replica) forgetTail(now time.Time) {
	old := 0
	for old < len(o.tail) && now.Sub(o.tail[old].came) > tailTime {
		old++
	}
	o.tail = slices.Delete(o.tail, 0, old)
}
