package actors

import (
	"errors"
	"math"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// RosterName is the roster's name on every broker, by which the others send to it.
const RosterName = "roster"

// Times of replication. A broker counts as up to date for staleAfter from when it sent
// what all others have acknowledged since, provided that it has got what they had sent
// until then; else it is behind and answers no list. One that waits for its
// acknowledgement waits longer than that. So when a write is answered, each broker either
// shows it or refuses, however long the network holds messages back (promise 2).
const (
	heartbeat  = 200 * time.Millisecond
	staleAfter = time.Second
	ackWait    = 1500 * time.Millisecond
	pageSize   = 500
	// soon is when a broker is asked again that does not know of this one yet.
	soon = 10 * time.Millisecond
	// tailTime is how long another broker's updates are kept. If it dies, each survivor
	// passes them on to the others, which may not have got its last ones.
	tailTime = 3 * time.Second
	// silentAfter is how long another broker may be silent until it is suspected to be dead.
	silentAfter = 2 * time.Second
)

// ErrBehind: this broker may not have seen what others answered.
var ErrBehind = errors.New("actors: this broker may be behind the others")

// RostersChanged tells the roster who else is in the fleet: address by member id.
type RostersChanged struct {
	Self   string
	Others map[string]string
}

// replica is what the roster knows of another broker's.
type replica struct {
	id     string
	pid    *actor.PID
	heard  time.Time // its latest sign of life
	fresh  time.Time // what it had sent at this time is here
	seen   uint64    // its latest update here
	known  bool      // seen has a value
	synced bool      // everything it had when we joined has arrived
	asked  time.Time
	after  *messages.RosterPull // the page that is waited for
	tail   []news               // its latest updates
}

// news is an update of another broker and when it came.
type news struct {
	update *messages.RosterUpdate
	came   time.Time
}

// pendingAck is an update of ours that others have not acknowledged.
type pendingAck struct {
	replies []reply
	missing map[string]bool
	until   time.Time
}

// replication is the part of the roster that keeps other brokers' rosters equal.
type replication struct {
	self     string
	others   map[string]*replica
	sequence uint64
	asked    uint64   // the latest question for a page
	out      outgoing // what was published since the last update
	pending  map[uint64]*pendingAck
	sent     map[uint64]time.Time // our latest updates
	graves   map[string]grave     // by kind and id
	doubts   int                  // brokers that are gone, and what they answered last is not known
	ticking  bool
	purging  bool // the clock was told when to look at the graves
}

type rosterTick struct{}

// pullAgain: a broker that did not know of this one may now.
type pullAgain struct{ id string }

func newReplication() *replication {
	return &replication{others: map[string]*replica{}, out: newOutgoing(), pending: map[uint64]*pendingAck{}, sent: map[uint64]time.Time{}, graves: map[string]grave{}}
}

// alone: there is nobody to tell.
func (p *replication) alone() bool { return len(p.others) == 0 }

// onRostersChanged adopts who is in the fleet. Newcomers are asked for all they have.
func (r *rosterActor) onRostersChanged(ctx actor.Context, m *RostersChanged) {
	p, now := r.replication, r.deps.Clock.Now()
	p.self = m.Self
	var gone []*replica
	for id, other := range p.others {
		if _, stays := m.Others[id]; !stays {
			gone = append(gone, other)
			delete(p.others, id)
			r.acknowledged(ctx, id, p.sequence)
		}
	}
	for id, address := range m.Others {
		if p.others[id] == nil {
			other := &replica{id: id, pid: actor.NewPID(address, RosterName), heard: now}
			p.others[id] = other
			r.pull(ctx, other, &messages.RosterPull{})
		}
	}
	ctx.Send(r.deps.Placer, &inCompany{!p.alone()})
	for _, other := range gone {
		r.inherit(ctx, other)
	}
	if !p.ticking && !p.alone() {
		p.ticking = true
		r.tickLater(ctx)
	}
	r.judge()
}

func (r *rosterActor) tickLater(ctx actor.Context) {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	r.deps.Clock.At(r.deps.Clock.Now().Add(heartbeat), func() { root.Send(self, &rosterTick{}) })
}

// onTick sends the heartbeat, gives up on acknowledgements, and asks again for pages.
func (r *rosterActor) onTick(ctx actor.Context) {
	p, now := r.replication, r.deps.Clock.Now()
	if p.alone() {
		p.ticking = false
		return
	}
	r.send(ctx, nil)
	for sequence, waiting := range p.pending {
		if now.After(waiting.until) {
			delete(p.pending, sequence)
			r.answer(ctx, waiting.replies)
		}
	}
	for _, other := range p.others {
		if !other.synced && now.Sub(other.asked) > heartbeat*2 {
			r.pull(ctx, other, other.after)
		}
		other.forgetTail(now)
		if now.Sub(other.heard) > silentAfter && r.deps.Silent != nil {
			r.deps.Silent(other.id)
		}
	}
	for sequence, at := range p.sent {
		if now.Sub(at) > staleAfter { // its acknowledgement proves nothing any more
			delete(p.sent, sequence)
		}
	}
	r.judge()
	r.tickLater(ctx)
}

// judge publishes until when this broker may answer for the whole fleet; what came by
// now has to be shown first.
func (r *rosterActor) judge() {
	oldest := int64(math.MaxInt64)
	if r.replication.doubts > 0 {
		oldest = 0
	}
	for _, other := range r.replication.others {
		if !other.synced {
			oldest = 0
			break
		}
		oldest = min(oldest, other.fresh.Add(staleAfter).UnixNano())
	}
	if until := &r.deps.Roster.freshUntil; !r.flushing || oldest < until.Load() {
		until.Store(oldest)
	}
}

// Behind is nil while the snapshot shows everything that any broker has answered.
func (r *Roster) Behind() error {
	if r.unsettled.Load() > 0 {
		return ErrBehind
	}
	return r.Incomplete()
}

// Incomplete is nil while the snapshot has all sessions. It may be behind nevertheless,
// waiting for grains of servers that wait for this.
func (r *Roster) Incomplete() error {
	if until := r.freshUntil.Load(); r.clock.Now().UnixNano() > until {
		return ErrBehind
	}
	return nil
}

// send posts what was published to all others; replies wait for them.
func (r *rosterActor) send(ctx actor.Context, replies []reply) {
	p := r.replication
	p.sequence++
	update := p.out.take()
	update.From, update.Sequence = p.self, p.sequence
	p.sent[p.sequence] = r.deps.Clock.Now()
	missing := make(map[string]bool, len(p.others))
	for id, other := range p.others {
		ctx.Request(other.pid, update)
		missing[id] = true
	}
	if len(replies) > 0 {
		p.pending[p.sequence] = &pendingAck{replies: replies, missing: missing, until: r.deps.Clock.Now().Add(ackWait)}
	}
}

func (r *rosterActor) onAck(ctx actor.Context, m *messages.RosterAck) {
	if other := r.replication.others[m.GetFrom()]; other != nil {
		other.heard = r.deps.Clock.Now()
		if at, ok := r.replication.sent[m.GetSequence()]; ok && other.synced && other.has(m.GetPublished()) && at.After(other.fresh) {
			other.fresh = at
		}
		r.acknowledged(ctx, m.GetFrom(), m.GetSequence())
		r.judge()
	}
}

// has says whether all its updates up to one have arrived.
func (o *replica) has(sequence uint64) bool { return sequence == 0 || o.known && o.seen >= sequence }

// acknowledged releases who waited for a broker, which has everything up to sequence.
func (r *rosterActor) acknowledged(ctx actor.Context, from string, sequence uint64) {
	for s, waiting := range r.replication.pending {
		if s > sequence {
			continue
		}
		delete(waiting.missing, from)
		if len(waiting.missing) == 0 {
			delete(r.replication.pending, s)
			r.answer(ctx, waiting.replies)
		}
	}
}

func (r *rosterActor) answer(ctx actor.Context, replies []reply) {
	for _, waiting := range replies {
		ctx.Send(waiting.to, waiting.answer)
	}
}

// onUpdate takes another broker's news. It is acknowledged when readers see it.
func (r *rosterActor) onUpdate(ctx actor.Context, m *messages.RosterUpdate) {
	other := r.replication.others[m.GetFrom()]
	if other == nil {
		return // it is not in our view; what it tells comes with the pull when it is
	}
	other.heard = r.deps.Clock.Now()
	if other.known && m.GetSequence() > other.seen+1 {
		r.deps.Logger.Warn("an update of another broker was lost; asking for everything", "broker", other.id)
		other.synced = false
		r.pull(ctx, other, &messages.RosterPull{})
	}
	other.seen, other.known = max(other.seen, m.GetSequence()), true
	other.remember(m, other.heard)
	r.take(ctx, m.GetSessions(), m.GetServers())
	r.drop(ctx, m.GetRemovedSessions(), m.GetRemovedServers())
	r.judge()
	ack := &messages.RosterAck{From: r.replication.self, Sequence: m.GetSequence(), Published: r.replication.sequence}
	if isEmpty(m) {
		respond(ctx, ctx.Sender(), ack)
		return
	}
	r.acks = append(r.acks, reply{ctx.Sender(), ack})
	r.flushSoon(ctx)
}

func isEmpty(m *messages.RosterUpdate) bool {
	return len(m.GetSessions())+len(m.GetServers())+len(m.GetRemovedSessions())+len(m.GetRemovedServers()) == 0
}

// pull asks for a page; whatever was asked before is not waited for any more. A question
// that is put again is answered twice, and only the first answer counts.
func (r *rosterActor) pull(ctx actor.Context, other *replica, page *messages.RosterPull) {
	if page.GetQuestion() == 0 {
		r.replication.asked++
		page.From, page.Question = r.replication.self, r.replication.asked
	}
	other.after, other.asked = page, r.deps.Clock.Now()
	ctx.Request(other.pid, page)
}

// onPull answers with a page of what is here, once the asker gets our updates too.
func (r *rosterActor) onPull(ctx actor.Context, m *messages.RosterPull) {
	page := &messages.RosterPage{From: r.replication.self, Sequence: r.replication.sequence, Question: m.GetQuestion()}
	if r.replication.others[m.GetFrom()] == nil {
		page.NotYet = true
		respond(ctx, ctx.Sender(), page)
		return
	}
	snapshot := r.builder.Snapshot()
	sessions := snapshot.Sessions(roster.SessionQuery{Limit: pageSize,
		After: roster.SessionCursor{CreationUnixMs: m.GetAfterCreationUnixMs(), ID: m.GetAfterSession()}})
	for _, found := range sessions.Sessions {
		page.Sessions = append(page.Sessions, found.View)
	}
	servers := snapshot.Servers(roster.ServerCursor{Hostname: m.GetAfterHostname(), ID: m.GetAfterServer()}, pageSize)
	for _, found := range servers.Servers {
		page.Servers = append(page.Servers, found.View)
	}
	page.Last = !sessions.More && !servers.More
	respond(ctx, ctx.Sender(), page)
}

func (r *rosterActor) onPullAgain(ctx actor.Context, m *pullAgain) {
	if other := r.replication.others[m.id]; other != nil && !other.synced {
		r.pull(ctx, other, other.after)
	}
}

func (r *rosterActor) onPage(ctx actor.Context, m *messages.RosterPage) {
	other := r.replication.others[m.GetFrom()]
	if other == nil || other.synced || m.GetQuestion() != 0 && m.GetQuestion() != other.after.GetQuestion() {
		return
	}
	if m.GetNotYet() {
		root, self := ctx.ActorSystem().Root, ctx.Self()
		r.deps.Clock.At(r.deps.Clock.Now().Add(soon), func() { root.Send(self, &pullAgain{other.id}) })
		return
	}
	other.heard = r.deps.Clock.Now()
	if !other.known { // what it sent before is on its pages
		other.seen, other.known = m.GetSequence(), true
	}
	r.take(ctx, m.GetSessions(), m.GetServers())
	r.later(ctx, nil, nil)
	if m.GetLast() {
		other.synced = true
		r.send(ctx, nil) // its acknowledgement makes this broker up to date
		r.deps.Logger.Info("roster has everything another broker had", "broker", other.id, "sessions", r.builder.Snapshot().CountSessions())
		r.judge()
		return
	}
	r.pull(ctx, other, pageAfter(other.after, m))
}

// pageAfter asks for what follows a page.
func pageAfter(asked *messages.RosterPull, m *messages.RosterPage) *messages.RosterPull {
	next := &messages.RosterPull{AfterCreationUnixMs: asked.GetAfterCreationUnixMs(), AfterSession: asked.GetAfterSession(),
		AfterHostname: asked.GetAfterHostname(), AfterServer: asked.GetAfterServer()}
	if n := len(m.GetSessions()); n > 0 {
		next.AfterCreationUnixMs, next.AfterSession = m.GetSessions()[n-1].GetCreationUnixMs(), m.GetSessions()[n-1].GetId()
	}
	if n := len(m.GetServers()); n > 0 {
		last := m.GetServers()[n-1]
		next.AfterHostname, next.AfterServer = last.GetFacts().GetHostname(), last.GetId()
	}
	return next
}
