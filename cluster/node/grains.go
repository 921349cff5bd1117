package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/server"
	"opensessionmanager/actors/session"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/cluster/gateway"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/internal/version"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// scanPage is how many sessions of the roster are looked at at once.
const scanPage = 1000

// catchUpTime is how long a joining broker waits for what the others know.
const catchUpTime = 30 * time.Second

// idle is how long a session's grain stays in memory without a message.
const idle = 5 * time.Minute

func (n *Node) actorConfig() actors.Config {
	cfg := actors.DefaultConfig()
	sessions, queue := n.opt.Config.Sessions, n.opt.Config.Queue
	cfg.Session.Launch = sessions.CreationTimeout
	cfg.Session.Delete = sessions.DeletionTimeout
	cfg.Session.KeepDeleted = sessions.KeepDeleted
	cfg.Session.Queue = queue.MaxTime
	cfg.Session.Retries = queue.MaxRetries
	cfg.QueueSize = queue.MaxSize
	cfg.DropServer = sessions.DropServersAfter
	cfg.DropSessions = sessions.DropSessionsAfter
	cfg.Grace = n.opt.Config.Agent.Grace
	cfg.PingInterval = n.opt.Config.Agent.PingInterval
	cfg.BrokerVersion = version.String()
	if n.opt.Tune != nil {
		n.opt.Tune(&cfg)
	}
	return cfg
}

func (n *Node) joinFleet(context.Context) error {
	n.clock = actors.NewSystemClock()
	n.onStop(func(context.Context) error { n.clock.Close(); return nil })
	n.system = fleet.NewSystem(n.log)
	n.deps = &actors.Deps{System: n.system, Store: n.committer, Clock: n.clock, Logger: n.log, Config: n.actorConfig()}
	serverTLS, clientTLS, err := n.peerTLS()
	if err != nil {
		return err
	}
	cfg := fleet.Config{Name: "dcv-session-manager-broker", Logger: n.log, ServerTLS: serverTLS, ClientTLS: clientTLS,
		Host: "127.0.0.1", Idle: idle, Moved: n.onMoved, Lost: n.onLost} // alone it listens where nobody can reach it
	if cfg.Source = n.company; cfg.Source != nil {
		cfg.Host, cfg.Port, cfg.Advertise = n.opt.Config.Fleet.BindHost, n.opt.Config.Fleet.Port, n.advertised()
	}
	n.fleet, err = fleet.Start(n.system, actors.Kinds(n.deps), cfg)
	if err != nil {
		return err
	}
	n.deps.Copied = n.recordCopy
	n.deps.Peers, n.deps.Owns = n.fleet, n.fleet.Owns
	n.deps.Silent, n.deps.Doubt = n.fleet.Suspect, n.settle
	n.openAuditor()
	n.links = actors.NewLinks(n.deps)
	n.onStop(func(ctx context.Context) error { n.fleet.Stop(ctx); return nil })
	n.onStop(n.finishWrites)
	n.prepareSettling()
	return nil
}

// lostPause is how long they wait with asking again after a connection to another
// broker ended: until there is a new one, and once for several that end together.
const lostPause = time.Second

// onLost has sessions and servers ask again what may have been lost with a connection
// between brokers. Each has a deadline for that, but those are made for hosts that are slow.
func (n *Node) onLost() {
	if n.asking.Swap(true) {
		return
	}
	n.clock.At(n.clock.Now().Add(lostPause), func() {
		n.asking.Store(false)
		n.fleet.Broadcast(messages.KindSession, &messages.Wake{})
		n.fleet.Broadcast(messages.KindServer, &messages.Wake{})
	})
}

// onMoved follows a change of the view: who else has a roster, which agents have to
// say hello to another owner, and what this broker has to take up.
func (n *Node) onMoved(before, now *membership.View) {
	others := map[string]string{}
	for _, m := range now.Members {
		if m.ID != n.fleet.Self().ID {
			others[m.ID] = m.Address
		}
	}
	n.rememberGone(before, now)
	n.deps.Roster.SetOthers(&actors.RostersChanged{Self: n.fleet.Self().ID, Others: others})
	var left []string
	for _, m := range before.Members {
		if !now.Has(m.ID) {
			left = append(left, m.Address)
		}
	}
	if len(left) > 0 {
		n.fleet.Broadcast(messages.KindServer, &messages.BrokerLeft{Addresses: left})
	}
	n.fleet.Broadcast(messages.KindSession, &messages.Wake{}) // whom they asked may be gone
	n.links.OwnersMoved(func(kind, id string) bool { return owner(before, kind, id) != owner(now, kind, id) })
	n.takeUp(before, now)
	if n.auditor != nil {
		n.auditor.Look("the fleet changed")
	}
}

// owes says whether a session needs its grain awake. At the start the deleted ones
// have their alarms from loadSessions.
func owes(v *messages.SessionView, first bool) bool {
	switch v.GetState() {
	case messages.SessionState_SESSION_STATE_READY:
		return false
	case messages.SessionState_SESSION_STATE_DELETED:
		return !first
	default:
		return true
	}
}

func owner(v *membership.View, kind, id string) string {
	m, _ := v.Owner(kind, id)
	return m.ID
}

// takeUp wakes what came to this broker and owes something, or has a deadline that
// only its grain keeps.
func (n *Node) takeUp(before, now *membership.View) {
	self, snapshot, first := n.fleet.Self().ID, n.deps.Roster.Snapshot(), len(before.Members) == 0
	came := func(kind, id string) bool { return owner(now, kind, id) == self && owner(before, kind, id) != self }
	for page := snapshot.Sessions(roster.SessionQuery{Limit: scanPage}); ; page = snapshot.Sessions(roster.SessionQuery{Limit: scanPage, After: page.Next}) {
		for _, s := range page.Sessions {
			if owes(s.View, first) && came(messages.KindSession, s.View.GetId()) {
				n.fleet.Tell(messages.KindSession, s.View.GetId(), &messages.Wake{Check: true}, nil)
			}
		}
		if !page.More {
			break
		}
	}
	for _, s := range snapshot.Servers(roster.ServerCursor{}, 0).Servers {
		if came(messages.KindServer, s.View.GetId()) {
			n.fleet.Tell(messages.KindServer, s.View.GetId(), &messages.Wake{}, nil)
		}
	}
}

// load puts everything the store holds on the roster before anybody may look, and
// then wakes what owes something.
func (n *Node) load(ctx context.Context) error {
	builder := roster.NewBuilder()
	if err := n.loadServers(ctx, builder); err != nil {
		return err
	}
	over, err := n.loadSessions(ctx, builder)
	if err != nil {
		return err
	}
	actors.Start(n.deps, builder)
	n.gateway = gateway.New(n.fleet, picture{n.deps.Roster, n}, gateway.DefaultConfig())
	n.serveAPI()
	if err := n.fleet.Join(ctx); err != nil {
		return err
	}
	// Not before: the alarms of what is over already ring at once, and grains need the roster.
	for id, deadline := range over {
		n.deps.ArmSessionDeadline(id, deadline)
	}
	if err := n.catchUp(ctx); err != nil {
		return err
	}
	if err := n.dropForgotten(ctx); err != nil {
		return err
	}
	n.caughtUp.Store(true)
	n.watchRecords()
	return nil
}

// dropForgotten looks again for sessions that nobody else has told of: it may have been
// long until this broker was let in, and what was forgotten meanwhile nobody mentions.
func (n *Node) dropForgotten(ctx context.Context) error {
	loaded := map[string]bool{}
	snapshot := n.deps.Roster.Snapshot()
	for after := (roster.SessionCursor{}); ; {
		page := snapshot.Sessions(roster.SessionQuery{Limit: scanPage, After: after})
		for _, s := range page.Sessions {
			if s.View.GetVersion() <= actors.Loaded {
				loaded[s.View.GetId()] = true
			}
		}
		if after = page.Next; !page.More {
			break
		}
	}
	if len(loaded) == 0 || n.company == nil {
		return nil
	}
	err := n.scan(ctx, actors.RecordSession, func(r persistence.Record) error {
		var record messages.SessionRecord
		err := proto.Unmarshal(r.Data, &record)
		if !record.GetBuried() {
			delete(loaded, record.GetId())
		}
		return err
	})
	if err != nil || len(loaded) == 0 {
		return err
	}
	n.log.Info("sessions were forgotten while this broker waited to join", "count", len(loaded))
	return n.deps.Roster.DropLoaded(slices.Collect(maps.Keys(loaded)))
}

// picture is this broker's roster as the gateway reads it.
type picture struct {
	*actors.Roster
	node *Node
}

// Behind is nil while the roster shows all that any broker has answered: it hears from
// all the others, and these are all.
func (p picture) Behind() error {
	if !p.node.caughtUp.Load() {
		return actors.ErrBehind
	}
	if err := p.Roster.Behind(); err != nil {
		return err
	}
	return p.Contact()
}

// Contact is nil while this broker may act for the fleet.
func (p picture) Contact() error { return p.node.fleet.Contact() }

// StoreFails says that nothing can be stored from here.
func (p picture) StoreFails() bool { return p.node.storeFails() }

// errLeftBehind: the fleet went on without this broker while it started.
var errLeftBehind = errors.New("the fleet went on without this broker")

// catchUp waits until this broker shows what every other one has answered.
func (n *Node) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for n.deps.Roster.Behind() != nil {
		select {
		case <-look.C:
		case <-n.fleet.Removed():
			return errLeftBehind
		case <-ctx.Done():
			return errors.New("the other brokers did not send what they know in time")
		}
	}
	return nil
}

// loadSessions shows each session as it was stored, but one whose server was forgotten
// meanwhile is not READY: nobody speaks for it. What only waits for its time to be
// forgotten needs an alarm, not a grain: over has the deadlines.
func (n *Node) loadSessions(ctx context.Context, builder *roster.Builder) (over map[string]time.Time, err error) {
	over = map[string]time.Time{}
	servers := builder.Snapshot()
	return over, n.scan(ctx, actors.RecordSession, func(r persistence.Record) error {
		var record messages.SessionRecord
		if err := proto.Unmarshal(r.Data, &record); err != nil {
			return err
		}
		s := session.FromRecord(&record)
		if _, known := servers.Server(s.ServerID); !known && s.State == session.Ready {
			s.State, s.Reason = session.Unknown, session.Reason{Code: messages.CodeUnreachable, Text: "its server was forgotten"}
		}
		if s.State != session.Buried {
			builder.PutSession(s.View(actors.LoadedAs(r.Version)))
		}
		if s.State == session.Deleted || s.State == session.Buried {
			over[s.ID] = s.Deadline
		}
		return nil
	})
}

// loadServers shows each server as it was; until its agent is back or its grace time
// over nobody knows better.
func (n *Node) loadServers(ctx context.Context, builder *roster.Builder) error {
	return n.scan(ctx, actors.RecordServer, func(r persistence.Record) error {
		var record messages.ServerRecord
		if err := proto.Unmarshal(r.Data, &record); err != nil {
			return err
		}
		s := server.New(record.GetId())
		s.MachineID, s.Closed, s.Facts, s.Reachable = record.GetMachineId(), record.GetClosed(), record.GetFacts(), !record.GetUnreachable()
		s.ClientID = record.GetAgentClientId()
		builder.PutServer(s.View(actors.LoadedAs(r.Version)))
		return nil
	})
}

func (n *Node) scan(ctx context.Context, kind string, each func(persistence.Record) error) error {
	return persistence.Walk(ctx, n.store, kind, nil, func(records []persistence.Record) error {
		for _, r := range records {
			if err := each(r); err != nil {
				return fmt.Errorf("%s %q: %w", kind, r.Key.ID, err)
			}
		}
		return nil
	})
}
