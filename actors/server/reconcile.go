package server

import (
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// Findings is what a full report means for the sessions of a server.
type Findings struct {
	// Launched: the report shows a session whose launch was not yet confirmed.
	Launched []Sighting
	// Changed: what it says of a living session is news.
	Changed []Sighting
	// Steady: a living session of which nothing new is said.
	Steady []Sighting
	// Unclaimed: no slot here knows this session.
	Unclaimed []*messages.DcvSession
	// Vanished: it should be there and is not.
	Vanished []*Slot
	// Missing: a launch that the host does not know of; it must be sent (again).
	Missing []*Slot
}

// Sighting is a slot and what a report says of its session.
type Sighting struct {
	Slot    *Slot
	Session *messages.DcvSession
}

// See notes what the host says of the session and tells whether it is news. Nil
// forgets what was seen.
func (s *Slot) See(session *messages.DcvSession) (news bool) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(session)
	if err != nil { // a text that is not UTF-8, which no frame can hold
		return true
	}
	news = string(encoded) != s.seen
	if news {
		s.seen = string(encoded)
	}
	return news
}

// Seen is what the host said last, nil if nothing.
func (s *Slot) Seen() *messages.DcvSession {
	session := &messages.DcvSession{}
	if s.seen == "" || proto.Unmarshal([]byte(s.seen), session) != nil {
		return nil
	}
	return session
}

// Reconcile compares a full report with the slots. It changes only what was seen;
// phases change when the sessions have decided. Slots with a reply later than the
// beginning of the report are left out: the report is older news (F14).
func (s *Server) Reconcile(report *messages.SessionsUpdateRequest) Findings {
	var found Findings
	reported := make(map[string]bool, len(report.GetSessions()))
	for _, session := range report.GetSessions() {
		if reported[session.GetId()] {
			continue
		}
		reported[session.GetId()] = true
		slot := s.byDCV[session.GetId()]
		switch {
		case slot == nil:
			found.Unclaimed = append(found.Unclaimed, session)
		case slot.LastReply > report.GetAsOf():
		case slot.Phase == Reserved || slot.Phase == Launching:
			found.Launched = append(found.Launched, Sighting{slot, session})
		case slot.See(session) || slot.Phase == Closing:
			found.Changed = append(found.Changed, Sighting{slot, session})
		default:
			found.Steady = append(found.Steady, Sighting{slot, session})
		}
	}
	for _, slot := range s.slots {
		if reported[slot.DCVID] || slot.LastReply > report.GetAsOf() {
			continue
		}
		switch slot.Phase {
		case Launching:
			found.Missing = append(found.Missing, slot)
		case Live, Closing:
			found.Vanished = append(found.Vanished, slot)
		}
	}
	return found
}
