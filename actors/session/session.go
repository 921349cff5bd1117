// Package session is the life of one session as a pure state machine: given what
// is known and what happened it says what comes next and what is to be done about
// it. It knows no actor, no clock and no I/O; time is an argument and every side
// effect is a value, so that a reload after a crash can do it again.
package session

import (
	"slices"
	"strings"
	"time"

	"opensessionmanager/messages"
)

// Session is everything that is known of one session. It is a value: On returns
// the next one and leaves the receiver as it was.
type Session struct {
	ID       string
	DCVID    string // the id on the host, see messages.SessionRecord
	Spec     *messages.SessionSpec
	External bool // found on a host, not created here

	State    State
	Created  time.Time
	Since    time.Time // when State was entered
	Deadline time.Time // when State is over at the latest; zero = never

	ServerID  string
	MachineID string
	Attempts  int      // launches tried
	Tried     []string // servers on which a launch failed

	Reason        Reason
	DeleteRequest string // the latest accepted delete
	DeleteAsked   bool   // somebody wants it gone; survives an unreachable host
	CloseOwed     bool   // dropped by force: its host is told to close it if that shows it again
	Digest        []byte
	Connections   int64
	Disconnected  time.Time // last disconnection
	StorageRoot   string

	// Newer is what a later version wrote into the record and this one does not know. It
	// is stored again as it was: an upgrade that is taken back, or half done, loses nothing.
	Newer []byte
}

// Reason says why a session is in its state. Code is one of messages.Code….
type Reason struct {
	Code string
	Text string
}

// Limits are the operator's choices (contract section 6 and our own keys).
type Limits struct {
	Launch      time.Duration // one try on a host
	Placement   time.Duration // finding another host after a failed try
	Queue       time.Duration // create-sessions-queue-max-time-seconds
	Delete      time.Duration // the host confirms a deletion
	KeepDeleted time.Duration // delete-session-duration-seconds
	Bury        time.Duration // a deleted session is known, shown or not; longer than a request may be on its way
	Retries     int           // create-sessions-number-of-retries-on-failure
}

// New is a session that was asked for and has no place yet. It is not durable:
// only its first transition makes it so.
func New(now time.Time, id string, spec *messages.SessionSpec, digest []byte) Session {
	return Session{ID: id, DCVID: id, Spec: spec, State: Fresh, Created: now, Since: now,
		Digest: digest, StorageRoot: spec.GetStorageRoot()}
}

// Owns says whether a request in the name of owner may touch the session.
func (s Session) Owns(owner string) bool { return s.Spec.GetOwner() == owner }

// Requirements are the client's and what the request implies: an autorun file in a
// console session exists on Windows only (contract section 1.5).
func (s Session) Requirements() string {
	asked := s.Spec.GetRequirements()
	if s.Spec.GetAutorunFile() == "" || s.Spec.GetType() != messages.SessionType_SESSION_TYPE_CONSOLE {
		return asked
	}
	const windows = "server:Host.Os.Family = 'windows'"
	if strings.TrimSpace(asked) == "" {
		return windows
	}
	return "(" + asked + ") and " + windows
}

// Coming says whether the session was accepted and is still to be made.
func (s Session) Coming() bool {
	return s.State == Queued || s.State == Placed || s.State == Replacing
}

// OnHost says whether the session holds a slot of its server.
func (s Session) OnHost() bool {
	switch s.State {
	case Placed, Ready, Unknown, Deleting:
		return true
	default:
		return false
	}
}

func (s Session) enter(now time.Time, next State, limits Limits) Session {
	s.State, s.Since = next, now
	s.Deadline = deadline(now, s, limits)
	return s
}

// deadline gives every transient state its end (design promise 6).
func deadline(now time.Time, s Session, limits Limits) time.Time {
	switch s.State {
	case Queued:
		return s.Created.Add(limits.Queue)
	case Placed:
		return now.Add(limits.Launch)
	case Replacing:
		return now.Add(limits.Placement)
	case Deleting:
		return now.Add(limits.Delete)
	case Deleted:
		return now.Add(limits.KeepDeleted)
	case Buried:
		return now.Add(limits.Bury - limits.KeepDeleted)
	default:
		return time.Time{}
	}
}

// Reloaded gives a session whose broker was away the full time again for what it
// waits for: its host may have done it long ago and could not say so.
func (s Session) Reloaded(now time.Time, limits Limits) Session {
	switch s.State {
	case Placed, Replacing, Deleting:
		s.Deadline = deadline(now, s, limits)
	}
	return s
}

func (s Session) failedOn(serverID string) Session {
	if serverID != "" && !slices.Contains(s.Tried, serverID) {
		s.Tried = append(slices.Clip(s.Tried), serverID)
	}
	return s
}

// PlaceLost says that the session was accepted and its server has no place for it after
// all: the reservation was gone with the broker that had made it, and somebody else has
// the place now. The session waits for another one until its deadline.
func (s Session) PlaceLost() bool {
	switch s.Reason.Code {
	case messages.CodeServerFull, messages.CodeOwnerLimit, messages.CodeServerUnavailable:
		return s.State == Replacing
	default:
		return false
	}
}

// mayRetry says whether another launch is allowed after a failed one.
func (s Session) mayRetry(limits Limits) bool {
	return !s.Spec.GetDisableRetryOnFailure() && s.Attempts <= limits.Retries
}
