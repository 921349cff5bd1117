package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
	"opensessionmanager/internal/devhost/control"
)

// An agent that is away makes its sessions UNKNOWN, never DELETED; on return they have the
// same ids. A host that never returns is forgotten in time (contract 4; F8, C2, C25).
func TestUnreachable_SessionsBecomeUnknownAndComeBack(t *testing.T) {
	t.Parallel()
	long(t, "it waits for agents that stay away")
	b := startBroker(t, "agent-grace-seconds = 1", "seconds-before-deleting-unreachable-dcv-server = 6",
		"seconds-before-deleting-sessions-unreachable-server = 4")
	h := b.startHost("returning", hostOptions{})
	before := b.api.awaitServer("returning", "AVAILABLE", "")
	id := b.api.created(virtual("alice"))
	b.api.awaitState(id, "READY")

	h.agent.kill()
	b.api.awaitServer("returning", "UNAVAILABLE", "UNREACHABLE_AGENT")
	s := b.api.awaitState(id, "UNKNOWN")
	require.NotEmpty(t, s.StateReason)
	require.Contains(t, b.api.refused(http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil, http.StatusBadRequest), "not in READY")
	require.Equal(t, "No DCV server found for the given criteria", b.api.refusal(virtual("bob")))
	h.startAgent()
	s = b.api.awaitState(id, "READY")
	require.Equal(t, before.ID, s.Server.ID)

	h.killAll()
	s = b.api.awaitState(id, "DELETED")
	require.Contains(t, s.StateReason, "unreachable")
	await(t, "the server to be forgotten", func() error {
		all, err := b.api.servers()
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
	h.startServer()
	h.startAgent()
	b.api.awaitServer("returning", "AVAILABLE", "")
	b.api.awaitState(b.api.created(virtual("alice")), "READY")
}

// Sessions that somebody made on a host are found and shown, and end when they end there
// (contract 1.2; F11, C7). Each host may have its own console session (F44).
func TestFound_SessionsMadeOnAHostAreShown(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	hosts := map[string]*host{"one": b.startHost("one", hostOptions{consoleOwner: "carol"}), "two": b.startHost("two", hostOptions{consoleOwner: "dave"})}
	consoles := map[string]session{}
	await(t, "two console sessions", func() error {
		all, err := b.api.sessions()
		for _, s := range all {
			if s.Type == "CONSOLE" && s.State == "READY" {
				consoles[s.Owner] = s
			}
		}
		if err == nil && len(consoles) < 2 {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
	require.NotEqual(t, consoles["carol"].ID, consoles["dave"].ID)
	for name, owner := range map[string]string{"one": "carol", "two": "dave"} {
		require.Empty(t, consoles[owner].Name)
		s := b.api.awaitServer(name, "AVAILABLE", "")
		require.Equal(t, s.ID, consoles[owner].Server.ID)
		require.Equal(t, 1, s.ConsoleSessionCount)
	}
	require.Equal(t, "No DCV server found for the given criteria", b.api.refusal(console("erin")), "one console session per host")

	byHand := exec.CommandContext(t.Context(), hosts["one"].folder()+"/dcv", "create-session", "--type", "virtual", "--owner", "frank", "by-hand")
	out, err := byHand.CombinedOutput()
	require.NoError(t, err, "%s", out)
	s := b.api.awaitState("by-hand", "READY")
	require.Equal(t, "frank", s.Owner)
	b.proc.kill()
	b.start()
	b.api.awaitState("by-hand", "READY")
	out, err = exec.CommandContext(t.Context(), hosts["one"].folder()+"/dcv", "close-session", "by-hand").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s = b.api.awaitState("by-hand", "DELETED")
	require.Equal(t, "its host no longer has the session", s.StateReason)

	require.Len(t, b.api.delete(consoles["dave"].ID, "dave", false).SuccessfulList, 1)
	b.api.awaitState(consoles["dave"].ID, "DELETED")
	hosts["two"].awaitSession("console", false)
	hosts["one"].awaitSession("console", true)
}

// A closed server takes nothing, keeps what it has, and stays closed over restarts of
// everything (contract 1.10; F43).
func TestClosedServers_StayClosed(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.startHost("closing", hostOptions{perUser: -1})
	server := b.api.awaitServer("closing", "AVAILABLE", "")
	id := b.api.created(virtual("alice"))
	b.api.awaitState(id, "READY")

	r := call[serverResults](b.api, http.MethodPost, "/closeServers", list{object{"ServerId": server.ID}})
	require.Len(t, r.UnsuccessfulList, 1)
	require.Equal(t, "DCV_SERVER_HAS_SESSIONS", r.UnsuccessfulList[0].FailureCode)
	r = call[serverResults](b.api, http.MethodPost, "/closeServers", list{object{"ServerId": server.ID, "Force": true}})
	require.Len(t, r.SuccessfulList, 1)
	closed := func() {
		t.Helper()
		b.api.awaitServer("closing", "UNAVAILABLE", "SERVER_CLOSED")
		require.Equal(t, "No DCV server found for the given criteria", b.api.refusal(virtual("bob")))
		b.api.awaitState(id, "READY")
	}
	closed()
	h.agent.kill()
	h.startAgent()
	closed()
	require.Zero(t, b.proc.stop(), "an orderly stop")
	b.start()
	closed()
	require.Len(t, call[serverResults](b.api, http.MethodPost, "/openServers", list{object{"ServerId": server.ID}}).SuccessfulList, 1)
	b.api.awaitState(b.api.created(virtual("bob")), "READY")
}

// Restarts of the agent and of the broker touch no session; agents come back by
// themselves, tokens stay valid (contract 3; F3, C7).
func TestRestarts_KeepSessions(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.startHost("steady", hostOptions{perUser: -1})
	b.api.awaitServer("steady", "AVAILABLE", "")
	var ids []string
	for i := range 3 {
		ids = append(ids, b.api.created(virtual(fmt.Sprintf("u%d", i))))
	}
	ready := func(when string) {
		t.Helper()
		for _, id := range ids {
			b.api.awaitState(id, "READY")
			h.awaitSession(id, true)
		}
		p, err := look(b.api, map[string]*host{"steady": h})
		require.NoError(t, err)
		require.Len(t, p.sessions, len(ids), when)
	}
	ready("at first")
	data := call[connectionData](b.api, http.MethodGet, "/sessionConnectionData/"+ids[0]+"/u0", nil)

	require.Zero(t, h.agent.stop())
	h.startAgent()
	ready("after the agent's restart")
	require.Zero(t, b.proc.stop())
	_, err := b.anybody.try(http.MethodGet, "/health", nil)
	require.Error(t, err)
	b.start()
	b.api.awaitServer("steady", "AVAILABLE", "")
	ready("after the broker's restart")
	o := connect(t, h, data)
	require.Zero(t, o.code, "a connection token of before: %s", o.stderr)
	ids = append(ids, b.api.created(virtual("u9")))
	ready("with one more")
}

// A host that restarts has lost its sessions; they are over, with a reason (C4, F10, F12).
func TestReboot_EndsTheSessionsOfTheHost(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	h := b.startHost("rebooting", hostOptions{perUser: -1})
	b.api.awaitServer("rebooting", "AVAILABLE", "")
	id := b.api.created(virtual("alice"))
	b.api.awaitState(id, "READY")
	h.fault(control.Fault{Kind: control.Restart})
	s := b.api.awaitState(id, "DELETED")
	require.NotEmpty(t, s.StateReason)
	require.Zero(t, b.api.awaitServer("rebooting", "AVAILABLE", "").VirtualSessionCount)

	one, other := b.api.created(virtual("alice")), b.api.created(virtual("bob"))
	b.api.awaitState(one, "READY")
	b.api.awaitState(other, "READY")
	h.fault(control.Fault{Kind: control.LoseSession, Session: one})
	require.Contains(t, b.api.awaitState(one, "DELETED").StateReason, "no longer has the session")
	b.api.awaitState(other, "READY")

	// In the middle of a create: it is tried again once the host is up (F10).
	h.fault(control.Fault{Kind: control.Stall, Command: control.CreateSession, Times: 1})
	third := b.api.created(virtual("carol"))
	await(t, "the create to be under way", func() error {
		answer, err := h.ask(control.Request{Command: control.Status})
		if err == nil && len(answer.Status.Faults) > 0 {
			err = fmt.Errorf("not yet: %+v", answer.Status.Faults)
		}
		return err
	})
	h.fault(control.Fault{Kind: control.Restart})
	b.api.awaitState(other, "DELETED")
	b.api.awaitState(third, "READY")
	h.awaitSession(third, true)
}

// Many clients at once never get more out of a host than it has (promise 5; F44).
func TestLimits_ParallelCreatesNeverOvercommit(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	hosts := map[string]*simulated{}
	for i := range 3 {
		name := fmt.Sprintf("small-%d", i)
		hosts[name] = b.simulate(name, agent.Limits{MaxVirtual: 5, MaxPerUser: 2, MaxConsole: 1})
		b.api.awaitServer(name, "AVAILABLE", "")
	}
	accepted := make(chan int)
	for worker := range 8 {
		go func() {
			n := 0
			defer func() { accepted <- n }()
			for i := range 6 {
				a, err := b.api.try(http.MethodPost, "/createSessions", []object{virtual(fmt.Sprintf("user-%d", (worker+i)%4)), console("user")})
				if err != nil || a.status != http.StatusOK {
					t.Errorf("status %d, %v", a.status, err)
					return
				}
				n += countAccepted(a)
			}
		}()
	}
	total := 0
	for range 8 {
		total += <-accepted
	}
	require.Equal(t, 3*(5+1), total, "every place was given, once")
	await(t, "the sessions on the hosts", func() error {
		n := 0
		for _, h := range hosts {
			n += h.dcv.Count()
		}
		if n != total {
			return fmt.Errorf("%d of %d", n, total)
		}
		return nil
	})
	for name, h := range hosts {
		s := b.api.awaitServer(name, "UNAVAILABLE", "SERVER_FULL")
		require.Equal(t, 5, s.VirtualSessionCount)
		require.Equal(t, 1, s.ConsoleSessionCount)
		require.Equal(t, 6, h.dcv.Count())
	}
}
