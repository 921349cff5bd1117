package actors

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/server"
	"opensessionmanager/messages"
)

// What one host may say. A report is believed, but it must not cost the fleet more
// than a host is worth.
const (
	// maxReported bounds how many sessions of one report are looked at.
	maxReported = 10_000
	// maxExternal bounds the sessions made on the host without us that are taken in,
	// those that ended and are still shown included: each is a record in the store.
	maxExternal = 1000
	// maxFacts bounds the facts in bytes: they are stored.
	maxFacts = 64 << 10
	// maxOwner and maxPath bound names in a session, in bytes; longer ones are cut off
	// where they are only shown, and not taken in where they matter.
	maxOwner = 256
	maxPath  = 4096
	// adoptTime is how long a session that was found has to appear on the roster
	// before its place is given to another one. Longer than any save.
	adoptTime = time.Minute
	// strayTime is how long a slot is kept whose session is not bound here according to
	// the roster. Longer than any view is on its way.
	strayTime = 30 * time.Second
)

func (g *serverGrain) onReported(ctx actor.Context, m *messages.AgentReported, sender *actor.PID) {
	if g.link == nil { // this activation never heard its hello: it has to come again
		respond(ctx, sender, &messages.Refusal{Code: messages.CodeNotReady, Detail: "the agent is not known here; it has to connect again"})
		g.retireIfEmpty()
		return
	}
	if !g.link.Equal(m.GetLink()) {
		return // an older socket's
	}
	g.asked, g.heard = false, g.deps.Clock.Now()
	report := m.GetReport()
	if facts := report.GetFacts(); facts != nil && proto.Size(facts) <= maxFacts && !proto.Equal(facts, g.srv.Facts) {
		g.srv.Facts = facts
	}
	if report.GetLoad() != nil {
		g.srv.Load = report.GetLoad()
	}
	g.reconcile(ctx, report)
	g.saveThen(ctx, nil, nil)
	respond(ctx, sender, &messages.SessionsUpdateResponse{RequestId: report.GetRequestId(), Result: &messages.UpdateResult{Success: true}})
}

func (g *serverGrain) reconcile(ctx actor.Context, report *messages.SessionsUpdateRequest) {
	whole := len(report.GetSessions()) <= maxReported
	if !whole {
		g.deps.Logger.Warn("report cut off: more sessions than any host has", "server", g.id, "sessions", len(report.GetSessions()))
		report = &messages.SessionsUpdateRequest{AsOf: report.GetAsOf(), Load: report.GetLoad(), Sessions: report.GetSessions()[:maxReported]}
	}
	g.holdBound(report)
	found := g.srv.Reconcile(report)
	if !whole || !report.GetLoad().GetDcvHealthy() {
		// An agent that cannot talk to dcvserver lists what it last saw: what is not
		// on that list is not known to be gone.
		found.Vanished, found.Missing = nil, nil
	}
	if g.proof != "" {
		g.unproven, found.Vanished = report, nil
		if g.deps.Clock.Now().Sub(g.proving) >= 2*g.deps.Config.Probe { // the link answers before that, or it was lost
			g.demandProof(ctx)
		}
	}
	for _, s := range found.Launched {
		if s.Slot.Phase == server.Reserved {
			continue // the session is not durable yet
		}
		if launch := g.launches[s.Slot.SessionID]; launch != nil && g.sent[s.Slot.SessionID] != "" {
			g.sendLaunch(ctx, launch) // its own answer comes, or was lost
			continue
		}
		g.launched(s.Slot, s.Session)
	}
	for _, s := range found.Changed {
		if s.Slot.Phase == server.Closing || !g.shownAlready(s) {
			g.sessionFound(s.Slot.SessionID, s.Session, false)
		}
	}
	for _, s := range found.Steady {
		if !g.knownReady(s.Slot) { // it was told, and the news was lost
			g.sessionFound(s.Slot.SessionID, s.Session, false)
		}
	}
	for _, slot := range found.Missing {
		if launch := g.launches[slot.SessionID]; launch != nil {
			g.sendLaunch(ctx, launch)
		}
	}
	for _, slot := range found.Vanished {
		if owed := g.closes[slot.DCVID]; owed != nil {
			g.sendClose(ctx, owed) // its own answer comes, or was lost; the host may still be making what it will close then
			continue
		}
		code, text := messages.CodeVanished, "its host no longer has the session"
		if g.rebooted {
			code, text = messages.CodeHostRestarted, "its host restarted"
		}
		g.tellSession(slot.SessionID, &messages.SessionVanished{SessionId: slot.SessionID, ServerId: g.boundTo(slot), Code: code, Reason: text})
	}
	g.onUnclaimed(found.Unclaimed, report.GetAsOf())
	g.freeStrays()
	g.holdSlotless()
	g.rebooted = g.rebooted && g.proof != "" // else all that a boot ended was told
}

// holdBound gives a slot to reported sessions that the roster binds to this server
// and that have none, which an activation can miss whose roster was a moment behind.
func (g *serverGrain) holdBound(report *messages.SessionsUpdateRequest) {
	for _, session := range report.GetSessions() {
		if g.srv.HasDCV(session.GetId()) || g.ended[session.GetId()] > report.GetAsOf() {
			continue
		}
		if entry, ok := g.deps.views().Session(session.GetId()); ok && entry.View.GetServerId() == g.id {
			if slot, holds := slotOf(entry, g.id); holds && slot.DCVID == session.GetId() && slot.Phase != server.Closing {
				g.srv.Hold(slot)
			}
		}
	}
}

// freeStrays frees slots whose sessions have not been bound here for a while: what
// told us so was lost, or went to an id that the host had before.
func (g *serverGrain) freeStrays() {
	now := g.deps.Clock.Now()
	var strays []string
	g.srv.Slots(func(s *server.Slot) {
		switch {
		case s.Phase == server.Reserved || g.bound(s):
			s.Doubted = time.Time{}
		case s.Doubted.IsZero():
			s.Doubted = now
		case now.Sub(s.Doubted) >= strayTime:
			strays = append(strays, s.SessionID)
		}
	})
	for _, id := range strays {
		g.deps.Logger.Info("slot freed: its session is not bound here", "server", g.id, "session", id)
		delete(g.launches, id)
		delete(g.sent, id)
		g.srv.Release(id)
	}
}

// holdSlotless is the reverse: a session that has been bound here for a while gets a
// slot even if its host does not show it, for it is its slot that makes it vanish.
func (g *serverGrain) holdSlotless() {
	now, still := g.deps.Clock.Now(), map[string]time.Time{}
	for _, entry := range g.deps.views().SessionsOn(g.id) {
		slot, holds := slotOf(entry, g.id)
		if !holds || g.srv.Slot(slot.SessionID) != nil {
			continue
		}
		since, doubted := g.slotless[slot.SessionID]
		if !doubted {
			since = now
		}
		if now.Sub(since) >= strayTime {
			g.deps.Logger.Info("session that is bound here gets a slot", "server", g.id, "session", slot.SessionID)
			g.srv.Hold(slot)
			continue
		}
		still[slot.SessionID] = since
	}
	g.slotless = still
}

func (g *serverGrain) bound(s *server.Slot) bool {
	entry, ok := g.deps.views().Session(s.SessionID)
	if !ok || entry.View.GetServerId() != g.boundTo(s) {
		return false
	}
	_, holds := slotOf(entry, g.id)
	return holds
}

// knownReady: readers see the session of a slot as usable, or as over.
func (g *serverGrain) knownReady(s *server.Slot) bool {
	entry, ok := g.deps.views().Session(s.SessionID)
	if !ok {
		return true
	}
	switch entry.View.GetState() {
	case messages.SessionState_SESSION_STATE_UNKNOWN, messages.SessionState_SESSION_STATE_CREATING:
		return false
	default:
		return true
	}
}

// shownAlready: readers see the session as the report has it; its grain need not wake.
func (g *serverGrain) shownAlready(s server.Sighting) bool {
	entry, ok := g.deps.views().Session(s.Slot.SessionID)
	return ok && entry.View.GetState() == messages.SessionState_SESSION_STATE_READY && entry.View.GetServerId() == g.id &&
		entry.View.GetNumOfConnections() == int64(s.Session.GetNumOfConnections()) && s.Session.GetLastDisconnectionTime() == "" &&
		entry.View.GetLastDisconnectionUnixMs() == 0 && s.Session.GetStorageRoot() == entry.View.GetStorageRoot()
}

// onUnclaimed has sessions that no slot knows found by their grains.
func (g *serverGrain) onUnclaimed(sessions []*messages.DcvSession, asOf int64) {
	for id, since := range g.ended {
		if since <= asOf {
			delete(g.ended, id) // from now on no report can be older than that close
		}
	}
	if len(sessions) == 0 {
		clear(g.aliases)
		return
	}
	shown := g.externals()
	aliases := make(map[string]string, len(g.aliases))
	for _, session := range sessions {
		_, closing := g.closes[session.GetId()]
		_, ended := g.ended[session.GetId()]
		if closing || ended || !plausible(session) || !g.mayAdopt(session.GetId(), shown) {
			continue
		}
		id, alias := g.aliases[session.GetId()]
		if alias {
			aliases[session.GetId()] = id
		} else {
			id = session.GetId()
		}
		g.sessionFound(id, session, alias)
	}
	g.aliases = aliases // of what is not reported any more nothing is kept
}

// externals counts the sessions on the roster that were made on this host without us.
func (g *serverGrain) externals() int {
	n := 0
	for _, entry := range g.deps.views().SessionsOn(g.id) {
		if entry.View.GetExternal() {
			n++
			delete(g.adopting, entry.View.GetDcvId())
		}
	}
	return n
}

// mayAdopt says whether one more session made without us may be taken in. One that
// the roster shows already is none more.
func (g *serverGrain) mayAdopt(dcvID string, shown int) bool {
	if _, known := g.deps.views().Session(cmp.Or(g.aliases[dcvID], dcvID)); known {
		return true
	}
	now := g.deps.Clock.Now()
	if _, underway := g.adopting[dcvID]; !underway && shown+len(g.adopting) >= maxExternal {
		maps.DeleteFunc(g.adopting, func(_ string, since time.Time) bool { return now.Sub(since) >= adoptTime })
		if shown+len(g.adopting) >= maxExternal {
			if !g.crowded {
				g.crowded = true
				g.deps.Logger.Warn("host has too many sessions that were made without the broker; the rest is left out", "server", g.id, "limit", maxExternal)
			}
			return false
		}
	}
	g.adopting[dcvID] = now
	return true
}

func (g *serverGrain) sessionFound(id string, session *messages.DcvSession, alias bool) {
	g.tellSession(id, &messages.SessionFound{SessionId: id, ServerId: g.id, MachineId: g.srv.MachineID, DcvSession: session, Alias: alias})
}

// onTaken: another host's session holds this id (each host may have its `console`).
// From now on it is known as id@digest, the digest being this server's.
func (g *serverGrain) onTaken(ctx actor.Context, m *messages.SessionTaken) {
	if len(g.aliases) >= maxExternal {
		return
	}
	digest := sha256.Sum256([]byte(g.srv.MachineID))
	g.aliases[m.GetDcvId()] = m.GetDcvId() + "@" + hex.EncodeToString(digest[:4])
	g.askForReport(ctx) // now under that name
}

// plausible keeps out what no DCV server says of a session.
func plausible(s *messages.DcvSession) bool {
	return plausibleID(s.GetId(), 128) && len(s.GetOwner()) <= maxOwner && len(s.GetStorageRoot()) <= maxPath
}

// plausibleID keeps what a host calls things printable and short.
func plausibleID(id string, most int) bool {
	if id == "" || len(id) > most {
		return false
	}
	for _, r := range id {
		if r < 0x21 || r == 0x7f || r == 0xfffd {
			return false
		}
	}
	return true
}
