package history

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// flag is the state of a server: open or closed to new sessions.
type flag struct {
	closed bool
	// lag lists the writes that took effect and are not known to be shown by all brokers,
	// oldest first, as "id+" where the server was closed before it and "id-" where not.
	lag string
}

// serverModel is the open/closed flag of one server.
func serverModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return flag{} },
		Step: func(state, input, _ any) (bool, any) {
			s, in := state.(flag), input.(step)
			ok := s.take(in)
			return ok, s
		},
		DescribeOperation: describe,
		DescribeState: func(state any) string {
			s := state.(flag)
			return fmt.Sprintf("closed %t, unsettled %s", s.closed, s.lag)
		},
	}
}

func (s *flag) take(in step) bool {
	switch in.op.Kind {
	case OpenServer, CloseServer:
		if in.op.Outcome == Refused {
			return in.op.Code != "SERVER_NOT_FOUND"
		}
		if in.settle {
			return s.settle(in.id)
		}
		sign := "-"
		if s.closed {
			sign = "+"
		}
		s.lag += fmt.Sprintf("%d%s ", in.id, sign)
		s.closed = in.op.Kind == CloseServer
		return true
	case Create: // the server's own decision: no broker's picture counts
		return !s.closed
	default:
		sight, there := in.op.Seen[in.op.Server]
		return there && s.see(sight.State)
	}
}

// settle: what took effect before is shown by nobody any more.
func (s *flag) settle(id int) bool {
	writes := strings.Fields(s.lag)
	for i, w := range writes {
		if strings.HasPrefix(w, fmt.Sprint(id)) && len(w) == len(fmt.Sprint(id))+1 {
			s.lag = ""
			for _, later := range writes[i+1:] {
				s.lag += later + " "
			}
			return true
		}
	}
	return true // a later write is settled already
}

// see takes what a broker shows; what stands before "closed" in the order of reasons
// says nothing of it.
func (s *flag) see(state string) bool {
	switch state {
	case "SERVER_CLOSED":
		return s.closed || strings.Contains(s.lag, "+")
	case "AVAILABLE", "SERVER_FULL", "EXISTING_LOGGED_IN_USER":
		return !s.closed || strings.Contains(s.lag, "-")
	default:
		return true
	}
}
