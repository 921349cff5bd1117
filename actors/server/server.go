// Package server holds the rules of one DCV server: who may have a slot, whether
// it is available and why not, and what a report of its agent means for the
// sessions it should have. It knows no actor, no clock and no I/O.
package server

import (
	"time"

	"opensessionmanager/messages"
)

// Phase says how far the session of a slot is.
type Phase int

const (
	// Reserved: promised to a session that is not yet durable.
	Reserved Phase = iota
	// Launching: the session is durable, its agent has not confirmed it.
	Launching
	// Live: the host has it.
	Live
	// Closing: the host was told to close it.
	Closing
)

// Slot is the place of one session on the server.
type Slot struct {
	SessionID string
	DCVID     string // the name under which the host knows the session
	Owner     string
	Type      messages.SessionType
	External  bool
	Phase     Phase
	// Until ends a reservation that nobody confirms.
	Until time.Time
	// LastReply is the agent's reply counter at its latest answer about this
	// session. A report that was begun before that says nothing about it.
	LastReply int64
	// BoundTo is the server id the session knows: another one than this server's
	// while its host has just come back under a new id.
	BoundTo string
	// Doubted is since when the session does not know of the slot; zero = it does.
	Doubted time.Time
	// seen is what the latest report said, to tell only news: encoded, which is a third
	// of the size and quicker to compare.
	seen string
}

// Server is the state of one DCV server. Not safe for concurrent use.
type Server struct {
	ID        string
	MachineID string
	ClientID  string // the agent client that speaks for it
	Closed    bool
	Reachable bool
	Facts     *messages.ServerFacts
	Load      *messages.ServerLoad

	slots map[string]*Slot // by session id
	byDCV map[string]*Slot

	count   Count
	byOwner map[string]int32 // virtual sessions that the limits count
}

// New is a server without sessions.
func New(id string) *Server {
	return &Server{ID: id, slots: map[string]*Slot{}, byDCV: map[string]*Slot{}, byOwner: map[string]int32{}}
}

// Slot returns the slot of a session, nil if it has none.
func (s *Server) Slot(sessionID string) *Slot { return s.slots[sessionID] }

// HasDCV says whether a session that the host calls so has a slot.
func (s *Server) HasDCV(id string) bool { return s.byDCV[id] != nil }

// Slots calls each for every slot, in no order.
func (s *Server) Slots(each func(*Slot)) {
	for _, slot := range s.slots {
		each(slot)
	}
}

// Hold gives a session a slot without asking for room: it is there already.
func (s *Server) Hold(slot Slot) *Slot {
	s.Release(slot.SessionID)
	kept := &slot
	s.slots[slot.SessionID], s.byDCV[slot.DCVID] = kept, kept
	s.tally(kept, +1)
	return kept
}

// Release frees the slot of a session and says whether there was one.
func (s *Server) Release(sessionID string) bool {
	slot := s.slots[sessionID]
	if slot == nil {
		return false
	}
	delete(s.slots, sessionID)
	s.tally(slot, -1)
	if s.byDCV[slot.DCVID] == slot {
		delete(s.byDCV, slot.DCVID)
	}
	return true
}

// Reserve promises a slot until the given time, or says why not. Asking again for
// the same session renews the promise.
func (s *Server) Reserve(sessionID, owner string, kind messages.SessionType, until time.Time) *messages.Refusal {
	if slot := s.slots[sessionID]; slot != nil {
		if slot.Phase == Reserved {
			slot.Until = until
		}
		return nil
	}
	if no := s.refuses(owner, kind); no != nil {
		return no
	}
	s.Hold(Slot{SessionID: sessionID, DCVID: sessionID, Owner: owner, Type: kind, Phase: Reserved, Until: until})
	return nil
}

// Expire frees reservations that were never confirmed and says how many, and when
// the next one ends (zero = none).
func (s *Server) Expire(now time.Time) (freed int, next time.Time) {
	for id, slot := range s.slots {
		if slot.Phase != Reserved {
			continue
		}
		if !slot.Until.After(now) {
			s.Release(id)
			freed++
		} else if next.IsZero() || slot.Until.Before(next) {
			next = slot.Until
		}
	}
	return freed, next
}

func (s *Server) refuses(owner string, kind messages.SessionType) *messages.Refusal {
	available, reason := s.Availability()
	if available != messages.Availability_AVAILABILITY_AVAILABLE && reason != messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL {
		return &messages.Refusal{Code: messages.CodeServerUnavailable, Detail: "the server is not available"}
	}
	count := s.Count()
	switch kind {
	case messages.SessionType_SESSION_TYPE_CONSOLE:
		if count.Console >= int(s.Facts.GetMaxConsoleSessions()) {
			return &messages.Refusal{Code: messages.CodeServerFull, Detail: "the server has no room for a console session"}
		}
	case messages.SessionType_SESSION_TYPE_VIRTUAL:
		if limit := s.Facts.GetMaxVirtualSessions(); limit >= 0 && count.Limited >= int(limit) {
			return &messages.Refusal{Code: messages.CodeServerFull, Detail: "the server has no room for a virtual session"}
		}
		if limit := s.Facts.GetMaxConcurrentSessionsPerUser(); limit >= 0 && int(s.byOwner[owner]) >= int(limit) {
			return &messages.Refusal{Code: messages.CodeOwnerLimit, Detail: "the owner has as many sessions on the server as it allows"}
		}
	default:
		return &messages.Refusal{Code: messages.CodeInvalid, Detail: "unknown session type"}
	}
	return nil
}
