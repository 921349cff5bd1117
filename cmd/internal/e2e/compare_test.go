package e2e

import (
	"fmt"
	"strings"

	"opensessionmanager/agent"
)

// machine is a host, real or simulated, that can be looked into past its agent.
type machine interface {
	present() (owners map[string]string, err error)
	allowed() agent.Limits
}

// picture is the broker's view of everything beside what is really there.
type picture struct {
	sessions map[string]session
	servers  map[string]server            // by host
	present  map[string]map[string]string // host -> session id -> owner
}

func look[M machine](c *client, machines map[string]M) (p picture, err error) {
	if p.sessions, err = c.sessions(); err != nil {
		return p, err
	}
	if p.servers, err = c.servers(); err != nil {
		return p, err
	}
	p.present = map[string]map[string]string{}
	for name, m := range machines {
		if p.present[name], err = m.present(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// differences says where view and truth part: sessions that are READY and not there, or
// there and not READY, counts that do not add up, and whatever is not finished.
func (p picture) differences() (wrong []string) {
	hostOf := map[string]string{} // server id -> host
	for name, s := range p.servers {
		hostOf[s.ID] = name
		if n := len(p.present[name]); s.VirtualSessionCount != n {
			wrong = append(wrong, fmt.Sprintf("server %s counts %d sessions and has %d", name, s.VirtualSessionCount, n))
		}
	}
	for id, s := range p.sessions {
		switch {
		case s.State == "DELETED", s.State == "CREATING" && s.Substate == "SESSION_PLACING":
		case s.State != "READY":
			wrong = append(wrong, fmt.Sprintf("unfinished: %+v", s))
		default:
			if _, there := p.present[hostOf[s.Server.ID]][id]; !there {
				wrong = append(wrong, fmt.Sprintf("READY on %s, which does not have it: %s", hostOf[s.Server.ID], id))
			}
		}
	}
	for name, owners := range p.present {
		for id := range owners {
			if s := p.sessions[id]; s.State != "READY" || hostOf[s.Server.ID] != name {
				wrong = append(wrong, fmt.Sprintf("%s is on %s, the broker says %+v", id, name, s))
			}
		}
	}
	return wrong
}

// problem makes an error of what is wrong.
func problem(wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d differences:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 8)], "\n"))
}

// exceeded says which limits a host's sessions exceed.
func exceeded(m machine) error {
	owners, err := m.present()
	if err != nil {
		return nil // a host that is down exceeds nothing
	}
	limits := m.allowed()
	if limits.MaxVirtual >= 0 && len(owners) > int(limits.MaxVirtual) {
		return fmt.Errorf("%d sessions of %d", len(owners), limits.MaxVirtual)
	}
	perUser := map[string]int{}
	for _, owner := range owners {
		if perUser[owner]++; limits.MaxPerUser >= 0 && perUser[owner] > int(limits.MaxPerUser) {
			return fmt.Errorf("%d sessions of %s, of %d", perUser[owner], owner, limits.MaxPerUser)
		}
	}
	return nil
}
