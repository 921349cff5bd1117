package node

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/server"
	"opensessionmanager/actors/session"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/cluster/gateway"
	"opensessionmanager/internal/version"
	"opensessionmanager/messages"
)

// scanPage is how many records are read from the store at once.
const scanPage = 1000

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
	// A fleet of one: nobody else has to reach it, so it listens where nobody can.
	n.fleet, err = fleet.Start(n.system, actors.Kinds(n.deps), fleet.Config{Name: "dcv-session-manager-broker",
		Logger: n.log, ServerTLS: serverTLS, ClientTLS: clientTLS, Host: "127.0.0.1", Idle: idle})
	if err != nil {
		return err
	}
	n.deps.Peers = n.fleet
	n.onStop(func(context.Context) error { n.fleet.Stop(); return nil })
	return nil
}

// load puts everything the store holds on the roster before anybody may look, and
// then wakes what owes something.
func (n *Node) load(ctx context.Context) error {
	builder := roster.NewBuilder()
	servers, err := n.loadServers(ctx, builder)
	if err != nil {
		return err
	}
	sessions, err := n.loadSessions(ctx, builder)
	if err != nil {
		return err
	}
	actors.Start(n.deps, builder)
	n.gateway = gateway.New(n.fleet, n.deps.Roster, gateway.DefaultConfig())
	n.serveAPI()
	for _, id := range servers {
		n.fleet.Tell(messages.KindServer, id, &messages.Wake{}, nil)
	}
	for _, id := range sessions.owing {
		n.fleet.Tell(messages.KindSession, id, &messages.Wake{}, nil)
	}
	// Not before: the alarms of what is over already ring at once, and grains need the roster.
	for id, deadline := range sessions.over {
		n.deps.ArmSessionDeadline(id, deadline)
	}
	return nil
}

// unfinished are the sessions that need something of the broker by themselves.
type unfinished struct {
	owing []string             // ids of those that owe something to their server or the queue
	over  map[string]time.Time // what only waits for its deadline needs an alarm, not a grain
}

// loadSessions shows each session as it was stored, but one whose server was forgotten
// meanwhile is not READY: nobody speaks for it.
func (n *Node) loadSessions(ctx context.Context, builder *roster.Builder) (unfinished, error) {
	found := unfinished{over: map[string]time.Time{}}
	servers := builder.Snapshot()
	err := n.scan(ctx, actors.RecordSession, func(data []byte) error {
		var record messages.SessionRecord
		if err := proto.Unmarshal(data, &record); err != nil {
			return err
		}
		s := session.FromRecord(&record)
		if _, known := servers.Server(s.ServerID); !known && s.State == session.Ready {
			s.State, s.Reason = session.Unknown, session.Reason{Code: messages.CodeUnreachable, Text: "its server was forgotten"}
		}
		builder.PutSession(s.View(1))
		switch {
		case s.State == session.Deleted:
			found.over[s.ID] = s.Deadline
		case len(s.Resume()) > 0:
			found.owing = append(found.owing, s.ID)
		}
		return nil
	})
	return found, err
}

// loadServers shows each server as it was; until its agent is back or its grace time
// over nobody knows better.
func (n *Node) loadServers(ctx context.Context, builder *roster.Builder) (ids []string, err error) {
	err = n.scan(ctx, actors.RecordServer, func(data []byte) error {
		var record messages.ServerRecord
		if err := proto.Unmarshal(data, &record); err != nil {
			return err
		}
		s := server.New(record.GetId())
		s.MachineID, s.Closed, s.Facts, s.Reachable = record.GetMachineId(), record.GetClosed(), record.GetFacts(), !record.GetUnreachable()
		s.ClientID = record.GetAgentClientId()
		builder.PutServer(s.View(1))
		ids = append(ids, record.GetId())
		return nil
	})
	return ids, err
}

func (n *Node) scan(ctx context.Context, kind string, each func(data []byte) error) error {
	for after := ""; ; {
		records, err := n.store.Scan(ctx, kind, after, scanPage)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := each(r.Data); err != nil {
				return fmt.Errorf("%s %q: %w", kind, r.Key.ID, err)
			}
			after = r.Key.ID
		}
		if len(records) < scanPage {
			return nil
		}
	}
}
