package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"opensessionmanager/actors/session"
	"opensessionmanager/messages"
)

// onSeen takes what a host says of a living session.
func (g *sessionGrain) onSeen(ctx actor.Context, kind session.Kind, serverID, machineID string, seen *messages.DcvSession) {
	if g.version != 0 && serverID != g.now.ServerID {
		kind = session.Elsewhere
	}
	g.apply(ctx, sighting(kind, serverID, machineID, seen), nil)
	g.retireIfEmpty()
}

// onFound decides what it means that a host's report shows this id.
func (g *sessionGrain) onFound(ctx actor.Context, m *messages.SessionFound) {
	seen := m.GetDcvSession()
	switch {
	case g.version == 0 && g.now.State == session.Fresh && len(g.askers) == 0:
		g.adoptFound(ctx, m)
	case m.GetServerId() == g.now.ServerID:
		g.apply(ctx, sighting(session.Found, m.GetServerId(), m.GetMachineId(), seen), nil)
	case g.cameAlong(m):
		g.apply(ctx, sighting(session.Moved, m.GetServerId(), m.GetMachineId(), seen), nil)
	case m.GetAlias(): // the made-up name is taken as well: it cannot be shown
		g.deps.Logger.Warn("session of a host left out: its name is taken", "session", g.id, "server", m.GetServerId())
	case g.now.External:
		g.tellServer(m.GetServerId(), &messages.SessionTaken{ServerId: m.GetServerId(), DcvId: seen.GetId()})
	case g.version == 0: // it is being made, and another activation may have launched it there. The next report asks again
	case !g.now.OnHost() || slices.Contains(g.now.Tried, m.GetServerId()):
		g.apply(ctx, sighting(session.Elsewhere, m.GetServerId(), m.GetMachineId(), seen), nil)
	default: // it lives on its own host, or may; the other one is asked again with its next report
		if g.second != m.GetServerId() {
			g.second = m.GetServerId()
			g.deps.Logger.Warn("session seen on a second host and left alone", "session", g.id, "server", g.now.ServerID, "second", g.second)
		}
	}
}

// cameAlong: the session's host came back under another server id. That is certain
// for the same machine, and believed when nobody speaks for the old server any more and
// both belong to the same agent client; a running desktop is never closed on a doubt.
func (g *sessionGrain) cameAlong(m *messages.SessionFound) bool {
	if g.now.ServerID == "" {
		return false
	}
	if m.GetMachineId() != "" && m.GetMachineId() == g.now.MachineID {
		return true
	}
	if g.now.External {
		return g.over()
	}
	return !g.hostReachable() && g.sameClient(m.GetServerId()) && g.now.OnHost() && g.now.State != session.Placed && !slices.Contains(g.now.Tried, m.GetServerId())
}

// sameClient: whoever opened the session's server opened the other one too.
func (g *sessionGrain) sameClient(serverID string) bool {
	mine, known := g.deps.views().Server(g.now.ServerID)
	other, there := g.deps.views().Server(serverID)
	return known && there && mine.View.GetAgentClientId() == other.View.GetAgentClientId()
}

// adoptFound takes in a session that was made on a host without us (F11).
func (g *sessionGrain) adoptFound(ctx actor.Context, m *messages.SessionFound) {
	seen := m.GetDcvSession()
	kind := messages.SessionType_SESSION_TYPE_VIRTUAL
	if seen.GetType() == "console" {
		kind = messages.SessionType_SESSION_TYPE_CONSOLE
	}
	created := g.deps.Clock.Now()
	if t, err := time.Parse(time.RFC3339, seen.GetCreationTime()); err == nil && t.Before(created) {
		created = t
	}
	g.now = session.New(created, g.id, &messages.SessionSpec{Owner: seen.GetOwner(), Type: kind, StorageRoot: seen.GetStorageRoot()}, nil)
	g.now.DCVID = seen.GetId()
	g.apply(ctx, sighting(session.Found, m.GetServerId(), m.GetMachineId(), seen), nil)
}

func sighting(kind session.Kind, serverID, machineID string, seen *messages.DcvSession) session.Event {
	e := session.Event{Kind: kind, ServerID: serverID, MachineID: machineID, Connections: max(int64(seen.GetNumOfConnections()), 0)}
	if len(seen.GetStorageRoot()) <= maxPath {
		e.StorageRoot = seen.GetStorageRoot()
	}
	if t, err := time.Parse(time.RFC3339, seen.GetLastDisconnectionTime()); err == nil {
		e.Disconnected = t.UTC().Truncate(time.Millisecond)
	}
	return e
}
