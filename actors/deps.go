package actors

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/session"
	"opensessionmanager/persistence"
)

// Record kinds in the store.
const (
	RecordSession = "session"
	RecordServer  = "server"
)

// Store is how grains reach the store: nothing blocks, done is called once from
// another goroutine. persistence.Committer implements it.
type Store interface {
	Load(key persistence.Key, done func(persistence.Record, error))
	Save(record persistence.Record, done func(version int64, err error))
	Delete(key persistence.Key, version int64, done func(error))
}

// Clock is time as grains see it. At calls f once, at or soon after t.
type Clock interface {
	Now() time.Time
	At(t time.Time, f func())
}

// Peers reaches grains wherever they live.
type Peers interface {
	// Tell sends without waiting; sender may be nil. A message to a grain whose
	// broker dies is lost.
	Tell(kind, id string, msg proto.Message, sender *actor.PID)
	// Retire makes this activation unreachable and ends it soon after; the next message
	// makes a new one. Only the grain itself may ask for it.
	Retire(kind, id string, self *actor.PID)
}

// Config is what the operator may choose about sessions and servers.
type Config struct {
	Session session.Limits
	// Reservation is how long a slot is held for a session that is not yet saved.
	Reservation time.Duration
	// Grace is how long an agent may be away before its server counts as unreachable.
	Grace time.Duration
	// DropServer removes a server that stayed unreachable
	// (seconds-before-deleting-unreachable-dcv-server).
	DropServer time.Duration
	// DropSessions ends the sessions of an unreachable server; 0 = never
	// (seconds-before-deleting-sessions-unreachable-server).
	DropSessions time.Duration
	// QueueSize is create-sessions-queue-max-size.
	QueueSize int
	// Probe is how long the holder of an identity has to show that it is alive when
	// somebody else claims it.
	Probe time.Duration
	// Command is the time an agent has for a command other than a launch.
	Command time.Duration
	// BrokerVersion and PingInterval are told to agents.
	BrokerVersion string
	PingInterval  time.Duration
}

// DefaultConfig holds the vendor's defaults (contract sections 4 and 6) and ours.
func DefaultConfig() Config {
	return Config{
		Session: session.Limits{
			Launch: 90 * time.Second, Placement: 30 * time.Second, Queue: 30 * time.Minute,
			Delete: 2 * time.Minute, KeepDeleted: time.Hour, Bury: graveTime, Retries: 2,
		},
		Reservation: 30 * time.Second, Grace: 30 * time.Second, DropServer: 30 * time.Minute,
		QueueSize: 1000, Probe: 3 * time.Second, Command: 20 * time.Second,
		BrokerVersion: "dev", PingInterval: 4 * time.Second,
	}
}

// Deps is what every actor of a broker is made with.
type Deps struct {
	System *actor.ActorSystem
	Store  Store
	Clock  Clock
	Peers  Peers
	Logger *slog.Logger
	Config Config
	// Owns, if there is one, says whether a grain belongs to this broker now.
	Owns func(kind, id string) bool
	// Silent, if there is one, is told which other broker has not been heard of for a
	// while. It must not block.
	Silent func(memberID string)
	// Doubt, if there is one, is told which broker is gone whose last answers this one
	// may not know; it compares the roster with the store, calls complete when the roster
	// has all sessions, from which servers know their slots, and then settled when all is
	// known, from any goroutine. It must not block. Stranger: this roster never had all
	// that it had, also of what it owned before others joined.
	Doubt func(memberID string, stranger bool, complete, settled func())
	// Copied, if there is one, is told of an agent that was turned away because another
	// one has its identity (F13). It must not block.
	Copied func(Copy)
	// Roster and Placer are filled by Start.
	Roster *Roster
	Placer *actor.PID
}

// Copy is an agent that showed the identity of another one, which lives or belongs to
// another agent client.
type Copy struct {
	ServerID, MachineID string // of the one that keeps them
	ClientID            string // of the copy
	Host, Address       string // of the copy, as it says
	Reason              string
}

// views is the read side grains may look at: a lock-free snapshot.
func (d *Deps) views() *roster.Snapshot { return d.Roster.Snapshot() }

// stampAfter is the next version of a published view: it rises across activations
// and restarts because it follows the clock, and never falls behind itself.
func (d *Deps) stampAfter(last int64) int64 {
	return max(last+1, d.Clock.Now().UnixMicro())
}
