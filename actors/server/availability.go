package server

import (
	"maps"
	"strings"

	"opensessionmanager/messages"
)

// Count is how many sessions a server has, reservations included.
type Count struct {
	Console int
	Virtual int
	// Limited is the part of Virtual that the limits count: sessions made through
	// the broker (contract section 4). What somebody made on the host is shown but
	// uses up nobody's allowance.
	Limited int
}

// Count returns the running count.
func (s *Server) Count() Count { return s.count }

// tally keeps the count as slots come and go: it is asked for on every create.
func (s *Server) tally(slot *Slot, by int) {
	if slot.Type == messages.SessionType_SESSION_TYPE_CONSOLE {
		s.count.Console += by
		return
	}
	s.count.Virtual += by
	if slot.External {
		return
	}
	s.count.Limited += by
	s.byOwner[slot.Owner] += int32(by)
	if s.byOwner[slot.Owner] == 0 {
		delete(s.byOwner, slot.Owner)
	}
}

// Availability says whether sessions may be placed here, and if not, the first
// reason that applies (contract section 1.2).
func (s *Server) Availability() (messages.Availability, messages.UnavailabilityReason) {
	reason := s.unavailable()
	if reason == messages.UnavailabilityReason_UNAVAILABILITY_REASON_NONE {
		return messages.Availability_AVAILABILITY_AVAILABLE, reason
	}
	return messages.Availability_AVAILABILITY_UNAVAILABLE, reason
}

func (s *Server) unavailable() messages.UnavailabilityReason {
	switch {
	case !s.Reachable:
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT
	case s.Facts == nil:
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNKNOWN
	case s.Load != nil && !s.Load.GetDcvHealthy():
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNHEALTHY_DCV_SERVER
	case s.Closed:
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED
	case s.foreignUser():
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER
	case s.full():
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL
	default:
		return messages.UnavailabilityReason_UNAVAILABILITY_REASON_NONE
	}
}

// foreignUser: on Windows somebody is logged in although no session is ours.
func (s *Server) foreignUser() bool {
	return strings.EqualFold(s.Facts.GetOs().GetFamily(), "windows") &&
		len(s.Load.GetLoggedInUsers()) > 0 && len(s.slots) == 0
}

// full: no session of any type finds room.
func (s *Server) full() bool {
	count := s.Count()
	limit := s.Facts.GetMaxVirtualSessions()
	virtualRoom := limit < 0 || count.Limited < int(limit)
	consoleRoom := count.Console < int(s.Facts.GetMaxConsoleSessions())
	return !virtualRoom && !consoleRoom
}

// View is the published picture.
func (s *Server) View(version int64) *messages.ServerView {
	availability, reason := s.Availability()
	count := s.Count()
	return &messages.ServerView{
		Id: s.ID, MachineId: s.MachineID, Facts: s.Facts, Load: s.Load,
		Availability: availability, UnavailabilityReason: reason,
		ConsoleSessions: int32(count.Console), VirtualSessions: int32(count.Virtual),
		VirtualByOwner: maps.Clone(s.byOwner), Closed: s.Closed, Reachable: s.Reachable, Version: version,
		AgentClientId: s.ClientID,
	}
}
