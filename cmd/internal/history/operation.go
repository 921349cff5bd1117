package history

import (
	"math"
	"sync"
	"time"
)

// Kind is what a client asked for.
type Kind string

// Operations of the API, and Peek, a look at a host behind everybody's back.
const (
	Create      Kind = "create"
	Delete      Kind = "delete"
	Permit      Kind = "permit"
	OpenServer  Kind = "open"
	CloseServer Kind = "close"
	Sessions    Kind = "sessions" // describeSessions, by ids or all
	Servers     Kind = "servers"
	Connect     Kind = "connect"
	Peek        Kind = "peek" // the permissions of a session on its host
)

// Outcome is what is known of an operation.
type Outcome string

const (
	// Done was acknowledged.
	Done Outcome = "done"
	// Refused did not happen and never will.
	Refused Outcome = "refused"
	// Unknown may have happened or may happen at any later time.
	Unknown Outcome = "unknown"
)

// Operation is one item of one request.
type Operation struct {
	Client  int
	Broker  int
	Kind    Kind
	Session string   `json:",omitempty"` // its id; of a create known from the answer only
	Server  string   `json:",omitempty"`
	Name    string   `json:",omitempty"` // of a create; no two ask for the same name but repetitions
	Owner   string   `json:",omitempty"`
	Stray   bool     `json:",omitempty"` // in the name of somebody who does not own the session
	Force   bool     `json:",omitempty"`
	Text    string   `json:",omitempty"` // permissions written or seen
	IDs     []string `json:",omitempty"` // what a describe asked for; none = all
	Outcome Outcome
	Code    string           `json:",omitempty"` // why not
	Seen    map[string]Sight `json:",omitempty"` // by id of session or server
	Call    int64            // nanoseconds since the begin
	Return  int64
	// MayFail: the session may end by itself before it was READY, for its hosts may fail
	// to make it or its time in the queue may be over.
	MayFail bool `json:",omitempty"`
}

// Sight is what a describe shows of a session or server.
type Sight struct {
	State  string // of a session; of a server its UnavailabilityReason, or AVAILABLE
	Name   string `json:",omitempty"`
	Server string `json:",omitempty"` // the session's
	Reason string `json:",omitempty"`
}

// Stay is a session on a host, as the host knows it. It was there for certain from From
// until To.
type Stay struct {
	Host, Server         string
	Session, Name, Owner string
	Console              bool
	Called, From         int64
	To                   int64 // Never while it is there
}

// Never is later than every moment of a history.
const Never = math.MaxInt64 / 4

// Limits are those of one host; below zero there is none.
type Limits struct{ Virtual, PerUser, Console int }

// History is everything that was recorded of one run.
type History struct {
	Seed       uint64
	Operations []Operation
	Stays      []Stay
	Limits     map[string]Limits // by host
	// Forgets: deleted sessions become absent before the run is over.
	Forgets bool
	// Doubles: a host may be cut off for so long that its sessions are made elsewhere.
	Doubles bool
}

// Recorder collects operations of many clients.
type Recorder struct {
	begin time.Time
	mu    sync.Mutex
	all   []Operation
}

// NewRecorder begins a history.
func NewRecorder() *Recorder { return &Recorder{begin: time.Now()} }

// Now is the time since the begin, in nanoseconds.
func (r *Recorder) Now() int64 { return int64(time.Since(r.begin)) }

// Add records an operation that is over.
func (r *Recorder) Add(op Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, op)
}

// Operations is what was recorded so far.
func (r *Recorder) Operations() []Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Operation(nil), r.all...)
}
