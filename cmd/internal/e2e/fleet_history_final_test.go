//go:build fleet

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"opensessionmanager/cmd/internal/history"
)

// calm waits until nothing is on its way any more: every broker shows the same, that is
// what the hosts have, and nothing is half done. Then each one is read once more for
// the record.
func (r *historyRun) calm() error {
	last := r.differences()
	for end := time.Now().Add(patience); last != nil && time.Now().Before(end); last = r.differences() {
		wait(r.f.t, 4*pause)
	}
	for i, b := range r.f.brokers {
		if b.proc != nil {
			r.readAll(i)
		}
	}
	return last
}

func (r *historyRun) differences() error {
	var first map[string]string
	for i, b := range r.f.brokers {
		if b.proc == nil {
			continue
		}
		p, err := look(r.clients[i], r.machines())
		if err != nil {
			return fmt.Errorf("broker %d: %w", i, err)
		}
		if wrong := r.unsettled(p); len(wrong) > 0 {
			return fmt.Errorf("broker %d: %w", i, problem(wrong))
		}
		told := pictureOf(p)
		if first == nil {
			first = told
		} else if !maps.Equal(first, told) {
			return fmt.Errorf("broker %d and the first one differ: %s", i, difference(first, told))
		}
	}
	return nil
}

func (r *historyRun) machines() map[string]*historyHost {
	all := map[string]*historyHost{}
	for _, h := range r.hosts {
		all[h.plan.name] = h
	}
	return all
}

// unsettled compares a broker's picture with the hosts.
func (r *historyRun) unsettled(p picture) (wrong []string) {
	hostOf := map[string]string{}
	for name, s := range p.servers {
		hostOf[s.ID] = name
		if n := len(p.present[name]); s.VirtualSessionCount+s.ConsoleSessionCount != n {
			wrong = append(wrong, fmt.Sprintf("server %s counts %d sessions and has %d", name, s.VirtualSessionCount+s.ConsoleSessionCount, n))
		}
	}
	if len(p.servers) != len(r.hosts) {
		wrong = append(wrong, fmt.Sprintf("%d servers of %d", len(p.servers), len(r.hosts)))
	}
	places := map[string][]string{}
	for name, owners := range p.present {
		for id := range owners {
			places[id] = append(places[id], name)
		}
	}
	for id, s := range p.sessions {
		switch where := places[id]; {
		case s.State == "READY" && s.Server != nil && len(where) == 1 && where[0] == hostOf[s.Server.ID]:
		case s.State == "DELETED" && len(where) == 0:
		default:
			wrong = append(wrong, fmt.Sprintf("on %v: %+v", where, s))
		}
		delete(places, id)
	}
	for id, where := range places {
		wrong = append(wrong, fmt.Sprintf("on %v and unknown: %s", where, id))
	}
	return append(wrong, r.lostOrKept(p)...)
}

// lostOrKept: what was acknowledged last is what there is.
func (r *historyRun) lostOrKept(p picture) (wrong []string) {
	deleted, doubtful, mayFail := map[string]bool{}, map[string]bool{}, map[string]bool{}
	operations := r.record.Operations()
	for _, op := range operations {
		switch {
		case op.Kind == history.Delete && op.Outcome == history.Done && !op.Stray:
			deleted[op.Session] = true
		case op.Kind == history.Delete && op.Outcome == history.Unknown && !op.Stray:
			doubtful[op.Session] = true
		case op.Kind == history.Create && op.MayFail:
			mayFail[op.Session] = true
		}
	}
	for _, op := range operations {
		if op.Kind != history.Create || op.Outcome != history.Done {
			continue
		}
		s, there := p.sessions[op.Session]
		switch {
		case deleted[op.Session] && there && s.State == "READY":
			wrong = append(wrong, fmt.Sprintf("deleted and READY: %+v", s))
		case deleted[op.Session] || doubtful[op.Session] || mayFail[op.Session]: // of the last the model takes care
		case s.State != "READY":
			wrong = append(wrong, fmt.Sprintf("accepted and deleted by nobody: %s: %+v", op.Session, s))
		}
	}
	return wrong
}

// pictureOf is all that brokers must agree about, by id.
func pictureOf(p picture) map[string]string {
	told := map[string]string{}
	for id, s := range p.sessions {
		if s.State == "DELETED" {
			continue // each broker forgets it in its own time
		}
		told[id] = fmt.Sprint(s.Name, s.Owner, s.Type, s.State, sightOf(s).Server)
	}
	for name, s := range p.servers {
		told[name] = fmt.Sprint(s.ID, s.Availability, s.UnavailabilityReason, s.VirtualSessionCount, s.ConsoleSessionCount)
	}
	return told
}

func difference(a, b map[string]string) string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if a[id] != b[id] {
			all = append(all, fmt.Sprintf("%s: %q and %q", id, a[id], b[id]))
		}
	}
	for id := range b {
		if _, both := a[id]; !both {
			all = append(all, "only the other one has "+id)
		}
	}
	return strings.Join(all, "; ")
}

// readAll puts what a broker shows in the end on record.
func (r *historyRun) readAll(broker int) {
	op := history.Operation{Client: r.plan.clients, Broker: broker, Kind: history.Sessions, Outcome: history.Done,
		Seen: map[string]history.Sight{}, Call: r.record.Now()}
	sessions, err := r.clients[broker].sessions()
	if err != nil {
		return
	}
	for id, s := range sessions {
		op.Seen[id] = sightOf(s)
		r.peek(r.plan.clients, id)
	}
	op.Return = r.record.Now()
	r.record.Add(op)
	servers := history.Operation{Client: op.Client, Broker: broker, Kind: history.Servers, Outcome: history.Done,
		Seen: map[string]history.Sight{}, Call: r.record.Now()}
	known, err := r.clients[broker].servers()
	if err != nil {
		return
	}
	for _, s := range known {
		servers.Seen[s.ID] = availability(s)
	}
	servers.Return = r.record.Now()
	r.record.Add(servers)
}
