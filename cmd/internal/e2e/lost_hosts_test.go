package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// demand is a kind of session that the clients of this story want.
type demand struct {
	count        int
	requirements string
	colors       string // of the hosts that meet the requirements
	enqueue      bool
}

var demands = []demand{
	{60, "tag:color = 'red'", "red", false},
	{40, "tag:color = 'blue' or tag:color = 'green'", "blue green", false},
	{40, "", "red blue green", true},
	{20, "server:Host.Os.Family = 'linux' and not tag:color = 'red'", "blue green", true},
	{20, "tag:color := 'gre'", "green", true},
	{10, "tag:color = 'purple'", "", false},
	{10, "tag:color = 'purple'", "", true},
}

// Three hosts, 200 sessions with mixed requirements, two hosts killed and brought back in the
// middle: every session ends in the state that the rules say, and the slots add up
// (contract 4; C6, C34, F8, F10, F12, F44).
func TestLostHosts_EverySessionEndsAsTheRulesSay(t *testing.T) {
	t.Parallel()
	long(t, "it creates 200 sessions with real processes")
	b := startBroker(t, "agent-grace-seconds = 3", "session-creation-timeout-seconds = 20", "create-sessions-queue-max-time-seconds = 3600")
	l := &lostHosts{t: t, broker: b, accepted: map[string]bool{}, hosts: map[string]*host{
		"red":   b.startHost("red", hostOptions{tags: map[string]string{"color": "red"}, maxVirtual: 50, perUser: -1}),
		"blue":  b.startHost("blue", hostOptions{tags: map[string]string{"color": "blue"}, maxVirtual: 45, perUser: 6}),
		"green": b.startHost("green", hostOptions{tags: map[string]string{"color": "green"}, maxVirtual: 60, perUser: 10, keepSessions: true}),
	}}
	for name := range l.hosts {
		b.api.awaitServer(name, "AVAILABLE", "")
	}
	var all []object
	for i, d := range demands {
		for range d.count {
			all = append(all, virtual(fmt.Sprintf("user-%d", len(all)%12),
				object{"Name": fmt.Sprint(i), "Requirements": d.requirements, "EnqueueRequest": d.enqueue}))
		}
	}
	require.Len(t, all, 200)
	inTurns(all)
	l.ask(all[:120])
	l.awaitSomeReady(30)
	before := l.lose("blue", "green")
	l.ask(all[120:])
	l.seeThemUnknown(before, "blue", "green")
	ended := l.deleteWhileAway(before)
	l.bringBack("green", "blue")
	l.awaitTheEnd()
	l.checkFates(before, ended)
}

type lostHosts struct {
	t        *testing.T
	broker   *broker
	hosts    map[string]*host
	accepted map[string]bool // by session id
}

// inTurns mixes the kinds, the same way in each run.
func inTurns(all []object) {
	for i := range all {
		j := (i * 7919) % len(all)
		all[i], all[j] = all[j], all[i]
	}
}

// ask creates sessions ten at a time; what is refused must be what nobody can have now.
func (l *lostHosts) ask(items []object) {
	for len(items) > 0 {
		batch := items[:min(10, len(items))]
		items = items[len(batch):]
		r := l.broker.api.create(batch...)
		for _, s := range r.SuccessfulList {
			l.accepted[s.ID] = true
		}
		for _, f := range r.UnsuccessfulList {
			require.Equal(l.t, "No DCV server found for the given criteria", f.FailureReason)
		}
		require.Len(l.t, batch, len(r.SuccessfulList)+len(r.UnsuccessfulList))
		l.checkLimits()
	}
}

func (l *lostHosts) checkLimits() {
	l.t.Helper()
	for name, h := range l.hosts {
		require.NoError(l.t, exceeded(h), name)
	}
	all, err := l.broker.api.servers()
	require.NoError(l.t, err)
	for name, s := range all {
		require.LessOrEqual(l.t, s.VirtualSessionCount, l.hosts[name].options.maxVirtual, name)
	}
}

// on are the sessions that the broker shows on a host in a state.
func (l *lostHosts) on(host, state string) map[string]session {
	l.t.Helper()
	p, err := look(l.broker.api, map[string]machine{})
	require.NoError(l.t, err)
	found := map[string]session{}
	for id, s := range p.sessions {
		if s.State == state && s.Server != nil && s.Server.ID == p.servers[host].ID {
			found[id] = s
		}
	}
	return found
}

func (l *lostHosts) awaitSomeReady(n int) {
	await(l.t, fmt.Sprintf("%d sessions READY on the hosts", n), func() error {
		if r, g := len(l.on("blue", "READY")), len(l.on("green", "READY")); r+g < n {
			return fmt.Errorf("blue has %d, green has %d", r, g)
		}
		return nil
	})
}

// lose kills hosts and returns what was READY on each just before.
func (l *lostHosts) lose(names ...string) map[string]map[string]session {
	before := map[string]map[string]session{"red": l.on("red", "READY")}
	for _, name := range names {
		before[name] = l.on(name, "READY")
		require.NotEmpty(l.t, before[name])
		l.hosts[name].killAll()
	}
	return before
}

func (l *lostHosts) seeThemUnknown(before map[string]map[string]session, names ...string) {
	for _, name := range names {
		l.broker.api.awaitServer(name, "UNAVAILABLE", "UNREACHABLE_AGENT")
		await(l.t, "the sessions on "+name+" to be UNKNOWN", func() error {
			all, err := l.broker.api.sessions()
			for id := range before[name] {
				if err == nil && all[id].State != "UNKNOWN" {
					err = fmt.Errorf("%+v", all[id])
				}
			}
			return err
		})
	}
	await(l.t, "no session to be in preparation on a host that is away", func() error {
		for _, name := range names {
			if n := len(l.on(name, "CREATING")); n > 0 {
				return fmt.Errorf("%d on %s", n, name)
			}
		}
		return nil
	})
}

// deleteWhileAway ends two sessions on green, one of them by force.
func (l *lostHosts) deleteWhileAway(before map[string]map[string]session) map[string]bool {
	ended := map[string]bool{}
	for id, s := range before["green"] {
		if len(ended) == 2 {
			break
		}
		force := len(ended) == 0
		require.Len(l.t, l.broker.api.delete(id, s.Owner, force).SuccessfulList, 1)
		if ended[id] = true; force {
			l.broker.api.awaitState(id, "DELETED")
		} else {
			l.broker.api.awaitState(id, "DELETING")
		}
	}
	return ended
}

func (l *lostHosts) bringBack(names ...string) {
	for _, name := range names {
		l.hosts[name].startServer()
		l.hosts[name].startAgent()
	}
}

// awaitTheEnd: view and truth agree, and whoever still waits could not be placed.
func (l *lostHosts) awaitTheEnd() {
	await(l.t, "everything to be settled", func() error {
		p, err := look(l.broker.api, l.hosts)
		if err != nil {
			return err
		}
		wrong := p.differences()
		for name, s := range p.servers {
			if s.UnavailabilityReason == "UNREACHABLE_AGENT" {
				wrong = append(wrong, name+" is unreachable")
			}
		}
		for id, s := range p.sessions {
			if s.State == "CREATING" && l.mayBePlaced(p, s) {
				wrong = append(wrong, "it waits although there is room for it: "+id)
			}
		}
		return problem(wrong)
	})
	l.checkLimits()
}

// demand is what a session was asked with.
func (l *lostHosts) demand(s session) demand {
	i, err := strconv.Atoi(s.Name)
	require.NoError(l.t, err)
	return demands[i]
}

func (l *lostHosts) mayBePlaced(p picture, s session) bool {
	d := l.demand(s)
	if !d.enqueue {
		return true // it never waits for long
	}
	for name, h := range l.hosts {
		owned := 0
		for _, owner := range p.present[name] {
			if owner == s.Owner {
				owned++
			}
		}
		limits := h.allowed()
		if strings.Contains(d.colors, name) && len(p.present[name]) < int(limits.MaxVirtual) && (limits.MaxPerUser < 0 || owned < int(limits.MaxPerUser)) {
			return true
		}
	}
	return false
}

func (l *lostHosts) checkFates(before map[string]map[string]session, ended map[string]bool) {
	t := l.t
	p, err := look(l.broker.api, l.hosts)
	require.NoError(t, err)
	count := map[string]int{}
	for id := range l.accepted {
		require.Contains(t, p.sessions, id, "an accepted session is never absent")
	}
	for id, s := range p.sessions {
		require.True(t, l.accepted[id], "a session that nobody was promised: %+v", s)
		count[s.State]++
		switch s.State {
		case "READY":
			require.Contains(t, l.demand(s).colors, l.color(p, s), "%+v", s)
		case "DELETED":
			require.True(t, s.StateReason != "" || ended[id], "over without a reason: %+v", s)
		}
	}
	t.Logf("%d accepted: %v", len(l.accepted), count)
	for id := range before["red"] {
		require.Equal(t, "READY", p.sessions[id].State, "its host was there all the time")
	}
	for id := range before["blue"] {
		require.Equal(t, "DELETED", p.sessions[id].State, "its host lost it: %+v", p.sessions[id])
		require.Equal(t, "its host no longer has the session", p.sessions[id].StateReason)
	}
	for id, s := range before["green"] {
		if ended[id] {
			require.Equal(t, "DELETED", p.sessions[id].State)
			continue
		}
		require.Equal(t, "READY", p.sessions[id].State, "its host kept it: %+v", p.sessions[id])
		require.Equal(t, s.Server.ID, p.sessions[id].Server.ID)
	}
}

// color is the name of a session's host.
func (l *lostHosts) color(p picture, s session) string {
	for name, server := range p.servers {
		if server.ID == s.Server.ID {
			return name
		}
	}
	return "none"
}
