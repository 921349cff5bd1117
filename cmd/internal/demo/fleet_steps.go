package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// createSessions places one on each host, so that later each agent can be asked.
func (f *fleet) createSessions(ctx context.Context) (string, error) {
	var requests []sessionRequest
	for _, h := range f.hosts {
		requests = append(requests, sessionRequest{"desktop", "user-of-" + h.name, "VIRTUAL", "tag:host = '" + h.name + "'"})
	}
	f.command(f.dcvsm("create-session"), "--name desktop --owner "+requests[0].Owner+" --type Virtual", fmt.Sprintf("--requirements %q   # and five more", requests[0].Requirements))
	var answer createAnswer
	if err := f.api.call(ctx, http.MethodPost, "/createSessions?explain=true", requests, &answer); err != nil {
		return "", err
	}
	for _, refused := range answer.UnsuccessfulList {
		return "", fmt.Errorf("a session was refused: %s: %s", refused.FailureReason, refused.FailureDetails.Detail)
	}
	f.sessions = answer.SuccessfulList
	if err := f.awaitSessions(ctx, "READY"); err != nil {
		return "", err
	}
	for _, m := range f.members {
		n, err := f.seenAt(ctx, m)
		if err != nil {
			return "", err
		}
		f.note("%s shows %d sessions; %d of the agents have called there", m.name, n, f.agentsAt(m))
	}
	return fmt.Sprintf("%d sessions READY, and every broker shows all of them", len(f.sessions)), nil
}

// seenAt counts the demonstration's sessions at one broker, past the balancer.
func (f *fleet) seenAt(ctx context.Context, m *member) (n int, err error) {
	m.api.token = f.api.token
	err = f.await(ctx, m.name+" to show the sessions", func(ctx context.Context) error {
		var answer struct{ Sessions []session }
		if err := m.api.call(ctx, http.MethodPost, "/describeSessions", nil, &answer); err != nil {
			return err
		}
		shown := map[string]bool{}
		for _, s := range answer.Sessions {
			shown[s.ID] = true
		}
		for _, s := range f.sessions {
			if !shown[s.ID] {
				return fmt.Errorf("%s does not show session %s", m.name, s.ID)
			}
		}
		n = len(f.sessions)
		return nil
	})
	return n, err
}

// killBroker is what the demonstration is about.
func (f *fleet) killBroker(ctx context.Context) (string, error) {
	f.stream = f.startStream(ctx)
	if err := f.stream.await(ctx, f.stage, 150); err != nil {
		return "", err
	}
	victim := f.busiest()
	f.note("four clients create, look at and delete sessions all the time, through the balancer")
	f.command(fmt.Sprintf("kill -9 %d   # %s, with %d agents", victim.proc.cmd.Process.Pid, victim.name, f.agentsAt(victim)))
	died := time.Now()
	f.procs.kill(victim.proc)
	if err := f.awaitRehomed(ctx, victim); err != nil {
		return "", err
	}
	rehomed := time.Since(died)
	if err := f.awaitAgents(ctx); err != nil { // they do what they are asked to
		return "", err
	}
	if err := f.stream.await(ctx, f.stage, 150); err != nil {
		return "", err
	}
	sum := f.stream.sum(died)
	lost, err := f.stream.lost(ctx, f.api)
	if err != nil {
		return "", err
	}
	f.note("%d requests, of which %d were sent a second time and %d failed", sum.requests, sum.retried, sum.failed)
	f.note("the longest time without a success was %s", seconds(sum.pause))
	f.note("all agents were with other brokers after %s", seconds(rehomed))
	if sum.failed > 0 || len(lost) > 0 {
		return "", fmt.Errorf("%d requests failed twice, %d sessions are lost: %v %v", sum.failed, len(lost), sum.reason, lost)
	}
	return fmt.Sprintf("nothing was lost: all of the %d sessions that were accepted are known", sum.accepted), nil
}

// awaitRehomed returns when all agents are connected to the brokers that are left.
func (f *fleet) awaitRehomed(ctx context.Context, gone *member) error {
	return f.await(ctx, "the agents to be with other brokers", func(context.Context) error {
		n := 0
		for _, m := range f.members {
			if m != gone {
				n += f.agentsAt(m)
			}
		}
		if n != len(f.hosts) {
			return fmt.Errorf("%d of %d agents are", n, len(f.hosts))
		}
		return nil
	})
}

// busiest is the broker with the most agents; of equals the last one.
func (f *fleet) busiest() *member {
	most := f.members[len(f.members)-1]
	for _, m := range f.members {
		if f.agentsAt(m) > f.agentsAt(most) {
			most = m
		}
	}
	return most
}

func (f *fleet) restartBroker(ctx context.Context) (string, error) {
	for _, m := range f.members {
		select {
		case <-m.proc.done:
		default:
			continue
		}
		f.command(f.program(brokerProgram) + " --config " + f.path(m.config))
		began := time.Now()
		if err := f.runMember(m); err != nil {
			return "", err
		}
		if err := f.awaitMember(ctx, m); err != nil {
			return "", err
		}
		took := time.Since(began)
		n, err := f.seenAt(ctx, m)
		if err != nil {
			return "", err
		}
		sum, err := f.stream.end(ctx, f.api)
		if err != nil {
			return "", err
		}
		f.note("the stream of requests has ended: %d in all, %d sent a second time, %d failed", sum.requests, sum.retried, sum.failed)
		return fmt.Sprintf("%s is a member again after %s, and shows all %d sessions", m.name, seconds(took), n), nil
	}
	return "", errors.New("all brokers run")
}

// outage is how long Consul is away.
const outage = 3 * time.Second

// killConsul shows what a fleet can do without: it reads, and refuses what could be lost.
func (f *fleet) killConsul(ctx context.Context) (string, error) {
	f.command(fmt.Sprintf("kill -9 %d   # Consul", f.consul.cmd.Process.Pid))
	f.procs.kill(f.consul)
	down := time.Now()
	request := []sessionRequest{{"desktop", "late", "VIRTUAL", ""}}
	var answer createAnswer
	err := f.api.call(ctx, http.MethodPost, "/createSessions?explain=true", request, &answer)
	if err == nil && len(answer.SuccessfulList) > 0 {
		return "", errors.New("a session was accepted that nobody could remember")
	}
	reads := 0
	for time.Since(down) < outage {
		now, err := f.describe(ctx)
		if err != nil || len(now) != len(f.sessions) {
			return "", fmt.Errorf("a list was not answered without Consul: %d sessions: %w", len(now), err)
		}
		reads++
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return "", err
		}
	}
	f.note("without it: %d of %d lists were answered, and a new session was refused", reads, reads)
	if err := f.runConsul(); err != nil {
		return "", err
	}
	began := time.Now()
	err = f.await(ctx, "a session to be accepted", func(ctx context.Context) error {
		var answer createAnswer
		if err := f.api.call(ctx, http.MethodPost, "/createSessions?explain=true", request, &answer); err != nil {
			return err
		}
		for _, refused := range answer.UnsuccessfulList {
			return errors.New(refused.FailureReason)
		}
		f.sessions = append(f.sessions, answer.SuccessfulList...)
		return nil
	})
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	return fmt.Sprintf("new sessions are accepted again %s after its start", seconds(took)), f.awaitSessions(ctx, "READY")
}

func (f *fleet) deleteSessions(ctx context.Context) (string, error) {
	f.viewer = &process{} // nobody is connected
	return f.stage.deleteSessions(ctx)
}

// playground says what can be done with all that runs, and waits for Ctrl-C.
func (f *fleet) playground(ctx context.Context) (string, error) {
	f.note("Look around, through the balancer:")
	f.command(f.dcvsm("--output-format table describe-sessions"))
	f.command(f.dcvsm("--output-format table describe-servers"))
	f.command(f.curl("/describeServers"), "-X POST")
	f.print("")
	f.note("Who is in the fleet:")
	f.command(f.program(consulProgram) + " kv get -http-addr=" + local(f.places.consul) + " dcv-session-manager/fleet/view")
	f.print("")
	f.note("Change something:")
	f.command(f.dcvsm("create-session"), "--name work --owner erin --type Virtual")
	f.print("")
	f.note("The logs: %s", f.procs.logs)
	f.print("\n%s", f.in(bold, indent+"Ctrl-C ends it all."))
	<-ctx.Done()
	return "ended", nil
}
