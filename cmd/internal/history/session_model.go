package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// stage is how far a write is that happens at most once.
type stage uint8

const (
	no    stage = iota
	begun       // took effect; brokers may differ about it
	sure        // acknowledged: all show it
)

// life is the state of one session.
type life struct {
	created, deleted stage
	ready            bool // somebody saw it READY
	failed           bool // somebody saw that it ended by itself
}

// sessionRules are what depends on more than the operation.
type sessionRules struct {
	forgets   bool // what is deleted may be absent
	withdrawn bool // no create of it was acknowledged: the fleet may delete it
	mayFail   bool
}

// sessionModel is the life of one session. absent -> CREATING -> READY (or UNKNOWN) ->
// DELETING -> DELETED; what only its host can know comes by itself and without an order
// among brokers, what a client asked for does not.
func sessionModel(rules sessionRules) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return life{} },
		Step: func(state, input, _ any) (bool, any) {
			s, in := state.(life), input.(step)
			ok := s.take(in, rules)
			return ok, s
		},
		DescribeOperation: describe,
		DescribeState: func(state any) string {
			s := state.(life)
			return fmt.Sprintf("created %d deleted %d ready %t failed %t", s.created, s.deleted, s.ready, s.failed)
		},
	}
}

func (s *life) take(in step, rules sessionRules) bool {
	switch in.op.Kind {
	case Create:
		return s.advance(&s.created, in)
	case Delete:
		return s.takeDelete(in, rules)
	case Permit:
		return s.takePermit(in.op, rules)
	case Connect:
		return s.takeConnect(in.op, rules)
	default:
		sight, there := in.op.Seen[in.op.Session]
		if !there {
			return s.mayBeAbsent(rules)
		}
		return s.see(sight.State, rules)
	}
}

// advance takes the two steps of a write.
func (s *life) advance(to *stage, in step) bool {
	if !in.settle {
		*to = max(*to, begun)
		return true
	}
	if *to == no {
		return false
	}
	*to = sure
	return true
}

func (s *life) takeDelete(in step, rules sessionRules) bool {
	op := in.op
	switch {
	case op.Stray:
		return op.Outcome != Done
	case op.Outcome == Unknown:
		if s.created != no {
			s.deleted = max(s.deleted, begun)
		}
		return true
	case op.Outcome == Done:
		return s.created != no && s.advance(&s.deleted, in)
	case op.Code == "SESSION_DELETED":
		return s.see("DELETED", rules)
	case op.Code == "SESSION_NOT_FOUND":
		return s.mayBeAbsent(rules)
	default:
		return true
	}
}

// takePermit: permissions are changed while the session is READY, which its owner
// decides, not a picture of it.
func (s *life) takePermit(op Operation, rules sessionRules) bool {
	switch {
	case op.Stray:
		return op.Outcome != Done
	case op.Outcome == Done:
		if s.created == no || s.deleted != no || s.failed {
			return false
		}
		s.ready = true
		return true
	case op.Outcome == Refused && op.Code == "SESSION_NOT_FOUND":
		return s.mayBeAbsent(rules) || s.see("DELETED", rules)
	default:
		return true
	}
}

func (s *life) takeConnect(op Operation, rules sessionRules) bool {
	switch {
	case op.Outcome == Done:
		return s.see("READY", rules)
	case op.Code == "SESSION_NOT_FOUND":
		return s.mayBeAbsent(rules)
	default:
		return true
	}
}

// mayBeAbsent: nobody has to have seen the end of what is forgotten.
func (s *life) mayBeAbsent(rules sessionRules) bool {
	return s.created != sure || rules.forgets && s.see("DELETED", rules)
}

// see takes what a broker shows.
func (s *life) see(state string, rules sessionRules) bool {
	switch state {
	case "CREATING":
		return s.created != no && s.deleted != sure
	case "READY":
		s.ready = true
		return s.created != no && s.deleted != sure && !s.failed
	case "UNKNOWN": // also when its host did not confirm a deletion in time
		return s.created != no && !s.failed
	case "DELETING":
		return s.deleted != no || rules.withdrawn
	case "DELETED":
		if s.deleted != no || rules.withdrawn {
			return true
		}
		s.failed = true
		return rules.mayFail && !s.ready && s.created != no
	default:
		return false
	}
}
