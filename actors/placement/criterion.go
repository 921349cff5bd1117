package placement

import (
	"fmt"
	"strings"

	"opensessionmanager/messages"
)

// Criterion is a reason for refusing a server. The order is that of judging.
type Criterion uint8

const (
	// Fits is no reason: the server can take the session.
	Fits Criterion = iota
	// Requirements: the expression is not met.
	Requirements
	// Unreachable: no agent speaks for it.
	Unreachable
	// Unhealthy: its agent cannot talk to dcvserver.
	Unhealthy
	// Closed by an operator.
	Closed
	// LoggedInUser: somebody is logged in on Windows outside of a session.
	LoggedInUser
	// StateUnknown: it is unavailable for a reason not known.
	StateUnknown
	// TypeNotOffered: it never takes sessions of this type.
	TypeNotOffered
	// Full: it has as many sessions of this type as it takes.
	Full
	// OwnerLimit: the owner has as many sessions there as allowed.
	OwnerLimit

	criteria // how many there are
)

// wording is the stable name of each criterion, and how to say that one server or
// several fail it.
var wording = [criteria]struct{ name, one, many string }{
	Fits:           {"fits", "could take it", "could take it"},
	Requirements:   {"requirements", "does not meet the requirements", "do not meet the requirements"},
	Unreachable:    {"unreachable", "cannot be reached", "cannot be reached"},
	Unhealthy:      {"unhealthy", "has no working DCV server", "have no working DCV server"},
	Closed:         {"closed", "is closed", "are closed"},
	LoggedInUser:   {"logged-in-user", "has a logged-in user", "have a logged-in user"},
	StateUnknown:   {"unknown", "is in an unknown state", "are in an unknown state"},
	TypeNotOffered: {"type-not-offered", "does not offer this type of session", "do not offer this type of session"},
	Full:           {"full", "is full", "are full"},
	OwnerLimit:     {"owner-limit", "has as many sessions of this owner as allowed", "have as many sessions of this owner as allowed"},
}

// String gives the stable name, as in messages.RefusalCount.
func (c Criterion) String() string {
	if c >= criteria {
		return fmt.Sprintf("criterion %d", uint8(c))
	}
	return wording[c].name
}

// Refused says why no server was chosen: how many failed on which criterion.
// Each server is counted once.
type Refused struct {
	counts [criteria]int32
}

// Count says how many servers failed on a criterion.
func (r *Refused) Count(c Criterion) int { return int(r.counts[c]) }

// Counts lists the criteria that any server failed on.
func (r *Refused) Counts() []*messages.RefusalCount {
	var all []*messages.RefusalCount
	for c := Requirements; c < criteria; c++ {
		if r.counts[c] > 0 {
			all = append(all, &messages.RefusalCount{Criterion: c.String(), Servers: r.counts[c]})
		}
	}
	return all
}

// String is a sentence for people.
func (r *Refused) String() string {
	total := int32(0)
	var parts []string
	for c := Requirements; c < criteria; c++ {
		if n := r.counts[c]; n > 0 {
			total += n
			verb := wording[c].many
			if n == 1 {
				verb = wording[c].one
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, verb))
		}
	}
	switch total {
	case 0:
		return "there are no servers"
	case 1:
		return "of 1 server, " + parts[0]
	}
	return fmt.Sprintf("of %d servers, %s", total, strings.Join(parts, ", "))
}

// Refusal is the answer for the asker, with the vendor's text (contract 1.5).
func (r *Refused) Refusal() *messages.Refusal {
	return &messages.Refusal{
		Code:   messages.CodeNoServer,
		Text:   "No DCV server found for the given criteria",
		Detail: r.String(),
		Counts: r.Counts(),
	}
}
