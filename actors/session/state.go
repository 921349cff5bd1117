package session

import (
	"errors"
	"fmt"
	"time"
)

// State is where a session stands. The name is what the store keeps.
type State string

const (
	// Fresh: asked for, not yet accepted. Never stored.
	Fresh State = ""
	// Queued: accepted, waits for room.
	Queued State = "queued"
	// Placed: a server holds a slot and its agent is making the session.
	Placed State = "placed"
	// Replacing: a launch failed and another server is sought.
	Replacing State = "replacing"
	// Ready: usable.
	Ready State = "ready"
	// Unknown: nobody can say, its agent cannot be talked to.
	Unknown State = "unknown"
	// Deleting: the host was told to close it.
	Deleting State = "deleting"
	// Deleted: over, visible until its time is up.
	Deleted State = "deleted"
	// Buried: over and not shown any more, but still known, so that a late copy of the
	// request to create it does not make it again. Stored as deleted.
	Buried State = "buried"
	// Gone: to be forgotten altogether.
	Gone State = "gone"
)

// Kind names what happened.
type Kind string

const (
	Granted      Kind = "granted"       // a server reserved a slot
	Held         Kind = "held"          // the queue took it
	Refused      Kind = "refused"       // no server, no queue
	Launched     Kind = "launched"      // the agent made it
	LaunchFailed Kind = "launch failed" // the agent could not
	Found        Kind = "found"         // a report shows it on its server
	Elsewhere    Kind = "elsewhere"     // a report shows it on a server it does not belong to
	Moved        Kind = "moved"         // its host came back under another server id
	Vanished     Kind = "vanished"      // a full report of its server lacks it
	Closed       Kind = "closed"        // the agent closed it
	CloseFailed  Kind = "close failed"  // the agent could not
	AgentLost    Kind = "agent lost"    // its server became unreachable
	Abandoned    Kind = "abandoned"     // unreachable for longer than allowed
	DeleteAsked  Kind = "delete asked"
	DeleteForced Kind = "delete forced" // and its host cannot be talked to
	Overdue      Kind = "overdue"       // the deadline of the state passed
)

// Event is one thing that happened, with what is needed of it.
type Event struct {
	Kind      Kind
	ServerID  string
	MachineID string
	Reason    Reason
	Force     bool // of DeleteAsked: give up on a host that does not answer
	RequestID string
	// What the host reports of a living session.
	Connections  int64
	Disconnected time.Time
	StorageRoot  string
}

// EffectKind names something to do once the state is durable.
type EffectKind string

const (
	Launch      EffectKind = "launch"       // tell the server to make it
	Close       EffectKind = "close"        // tell the server to close it
	ReleaseSlot EffectKind = "release slot" // the server may forget it
	Place       EffectKind = "place"        // find another server
	LeaveQueue  EffectKind = "leave queue"
	Forget      EffectKind = "forget" // delete the record and the view
)

// Effect is one thing to do. Every effect is idempotent: it is done again after a reload.
type Effect struct {
	Kind     EffectKind
	ServerID string
}

// ErrRefused: the event makes no sense in this state and changed nothing.
var ErrRefused = errors.New("session: event refused")

// move is one cell of the table: the usual next state and, where that depends on
// more than the state, the function that decides.
type move struct {
	next   State
	decide func(step) step
	// soft changes are published but not stored: the hosts report them again.
	soft bool
}

// life is the whole machine. A pair that is absent is refused; next == the same
// state means "stays, but something is noted or done".
var life = map[State]map[Kind]move{
	Fresh: {
		Granted: {next: Placed, decide: bind},
		Held:    {next: Queued},
		Found:   {next: Ready, decide: adopt},
	},
	Queued: {
		Granted:     {next: Placed, decide: bind},
		Refused:     {next: Deleted, decide: giveUp},
		Elsewhere:   {next: Queued, decide: closeStray, soft: true},
		DeleteAsked: {next: Deleted, decide: leave},
		Overdue:     {next: Deleted, decide: queueOver},
	},
	Placed: {
		Launched:     {next: Ready, decide: live},
		Found:        {next: Ready, decide: live},
		LaunchFailed: {next: Replacing, decide: retryOrFail},
		Overdue:      {next: Replacing, decide: tooSlow},
		Vanished:     {next: Replacing, decide: retryOrFail},
		Elsewhere:    {next: Placed, decide: closeStray, soft: true},
		Moved:        {next: Placed, decide: rebind},
		Abandoned:    {next: Replacing, decide: retryOrFail},
		DeleteAsked:  {next: Deleting, decide: closeIt},
		DeleteForced: {next: Deleted, decide: drop},
	},
	Replacing: {
		Granted:     {next: Placed, decide: bind},
		Held:        {next: Queued},
		Refused:     {next: Deleted, decide: giveUp},
		Elsewhere:   {next: Replacing, decide: closeStray, soft: true},
		DeleteAsked: {next: Deleted, decide: leave},
		Overdue:     {next: Deleted, decide: giveUp},
	},
	Ready: {
		Launched:     {next: Ready, decide: note, soft: true},
		Found:        {next: Ready, decide: note, soft: true},
		Elsewhere:    {next: Ready, decide: closeStray, soft: true},
		Moved:        {next: Ready, decide: rebind},
		AgentLost:    {next: Unknown, decide: lose, soft: true},
		Vanished:     {next: Deleted, decide: end},
		Closed:       {next: Deleted, decide: end},
		Abandoned:    {next: Deleted, decide: end},
		DeleteAsked:  {next: Deleting, decide: closeIt},
		DeleteForced: {next: Deleted, decide: drop},
	},
	Unknown: {
		Launched:     {next: Ready, decide: comeBack},
		Found:        {next: Ready, decide: comeBack},
		Elsewhere:    {next: Unknown, decide: closeStray, soft: true},
		Moved:        {next: Ready, decide: rebind},
		Vanished:     {next: Deleted, decide: end},
		Closed:       {next: Deleted, decide: end},
		Abandoned:    {next: Deleted, decide: end},
		DeleteAsked:  {next: Deleting, decide: closeIt},
		DeleteForced: {next: Deleted, decide: drop},
	},
	Deleting: {
		Launched:     {next: Deleting, decide: closeAgain, soft: true},
		Found:        {next: Deleting, decide: closeAgain, soft: true},
		Elsewhere:    {next: Deleting, decide: closeStray, soft: true},
		Moved:        {next: Deleting, decide: rebindAndClose},
		LaunchFailed: {next: Deleted, decide: end},
		Vanished:     {next: Deleted, decide: end},
		Closed:       {next: Deleted, decide: end},
		CloseFailed:  {next: Deleting, decide: noteReason, soft: true},
		Abandoned:    {next: Deleted, decide: end},
		DeleteAsked:  {next: Deleting, decide: closeAgain, soft: true},
		DeleteForced: {next: Deleted, decide: drop},
		Overdue:      {next: Unknown, decide: unconfirmed},
	},
	Deleted: {
		Found:     {next: Ready, decide: reappear},
		Launched:  {next: Deleted, decide: closeStray, soft: true},
		Elsewhere: {next: Deleted, decide: closeStray, soft: true},
		Moved:     {next: Ready, decide: reappear},
		Overdue:   {next: Buried, decide: bury},
	},
	Buried: {
		Found:     {next: Ready, decide: reappear},
		Launched:  {next: Buried, decide: closeStray, soft: true},
		Elsewhere: {next: Buried, decide: closeStray, soft: true},
		Moved:     {next: Ready, decide: reappear},
		Overdue:   {next: Gone, decide: forget},
	},
}

// step is a decision in the making.
type step struct {
	now     time.Time
	limits  Limits
	event   Event
	next    Session
	effects []Effect
	soft    bool
}

// Outcome is a decision: what the session is next and what to do once that is
// durable. Soft says that it need not be stored.
type Outcome struct {
	Next    Session
	Effects []Effect
	Soft    bool
}

// On decides. ErrRefused means that nothing changed.
func (s Session) On(now time.Time, e Event, limits Limits) (Outcome, error) {
	m, ok := life[s.State][e.Kind]
	if !ok {
		return Outcome{Next: s}, fmt.Errorf("%w: %s in %q", ErrRefused, e.Kind, s.State)
	}
	st := step{now: now, limits: limits, event: e, next: s, soft: m.soft}
	if m.next != s.State {
		st.next = s.enter(now, m.next, limits)
	}
	if m.decide != nil {
		st = m.decide(st)
	}
	return Outcome{Next: st.next, Effects: st.effects, Soft: st.soft}, nil
}

// Resume lists what a session in this state owes the world: done after each load.
func (s Session) Resume() []Effect {
	switch s.State {
	case Queued, Replacing:
		return []Effect{{Kind: Place}}
	case Placed:
		return []Effect{{Kind: Launch, ServerID: s.ServerID}}
	case Deleting:
		return []Effect{{Kind: Close, ServerID: s.ServerID}}
	case Unknown:
		if s.DeleteAsked {
			return []Effect{{Kind: Close, ServerID: s.ServerID}}
		}
		return nil
	case Deleted:
		return []Effect{{Kind: ReleaseSlot, ServerID: s.ServerID}}
	default:
		return nil
	}
}
