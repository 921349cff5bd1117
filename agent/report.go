package agent

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/agent/driver"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// reporter builds and delivers reports, one at a time, so that an older list can
// never overtake a newer one.
type reporter struct {
	agent *Agent
	turn  chan struct{} // holds the right to list and send
	done  sync.WaitGroup

	mu      sync.Mutex
	running bool
	again   *link // asked for while one was being built
	last    picture
	base    *messages.ServerFacts // what composed was made of
	server  *driver.Server
	whole   *messages.ServerFacts
}

// picture is the latest list of sessions. While the DCV server does not answer,
// the list and its counter stay as they were: the agent claims nothing newer.
type picture struct {
	asOf     int64
	sessions []*messages.DcvSession
	err      error // of the latest look
}

func newReporter(a *Agent) *reporter {
	return &reporter{agent: a, turn: make(chan struct{}, 1)}
}

func (r *reporter) wait() { r.done.Wait() }

// start makes a report for l without blocking. Reports asked for in the meantime
// become one.
func (r *reporter) start(ctx context.Context, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		r.again = l
		return
	}
	r.running = true
	r.done.Go(func() {
		for l := l; l != nil; l = r.more() {
			_ = r.deliver(ctx, l)
		}
	})
}

func (r *reporter) more() *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.again
	r.again = nil
	r.running = l != nil
	return l
}

// deliver looks at the sessions and reports. It returns why the look failed.
func (r *reporter) deliver(ctx context.Context, l *link) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := r.look(ctx)
	facts := r.facts(ctx)
	if l.serverID != r.agent.serverID(facts) {
		l.end(errNewServer)
		return err
	}
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	l.send(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{
		SessionsUpdateRequest: &messages.SessionsUpdateRequest{
			RequestId: agentproto.NewRequestID(),
			AsOf:      last.asOf,
			Facts:     facts,
			Load:      r.load(ctx),
			Sessions:  last.sessions,
		},
	}})
	return err
}

// look lists the sessions. The counter is read first: a reply that is given
// while the list is made is newer than the list.
func (r *reporter) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.agent.cfg.Timing.List)
	defer cancel()
	asOf := r.agent.sequence.Load()
	sessions, err := r.agent.cfg.Driver.List(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if (err == nil) != (r.last.err == nil) {
		r.agent.log.Warn("The health of the DCV server changed", "healthy", err == nil, "error", err)
	}
	r.last.err = err
	if err == nil {
		r.last.asOf, r.last.sessions = asOf, sessions
	}
	return err
}

// load adds the DCV server's health to the host's load.
func (r *reporter) load(ctx context.Context) *messages.ServerLoad {
	load := r.agent.cfg.Host.Load(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	load.DcvHealthy = r.last.err == nil
	load.DcvError = ""
	if r.last.err != nil {
		load.DcvError = clip(r.last.err.Error())
	}
	return load
}

// facts adds the DCV server, the limits and the agent's version to the facts of
// the host. The result is shared and the same as long as nothing changes.
func (r *reporter) facts(ctx context.Context) *messages.ServerFacts {
	ctx, cancel := context.WithTimeout(ctx, r.agent.cfg.Timing.List)
	defer cancel()
	base := r.agent.cfg.Host.Facts(ctx)
	server, err := r.agent.cfg.Driver.Server(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && r.server != nil {
		server = r.server
	}
	if server == nil {
		server = &driver.Server{}
	}
	if r.whole == nil || r.base != base || r.server != server {
		r.base, r.server, r.whole = base, server, r.compose(base, server)
	}
	return r.whole
}

func (r *reporter) compose(base *messages.ServerFacts, server *driver.Server) *messages.ServerFacts {
	facts := proto.CloneOf(base)
	facts.AgentVersion = r.agent.cfg.Version
	facts.DcvVersion = server.Version
	facts.WebUrlPath = server.WebURLPath
	facts.Endpoints = nil
	for _, e := range server.Endpoints {
		e = proto.CloneOf(e)
		if e.IpAddress == "" {
			e.IpAddress = facts.Ip
		}
		facts.Endpoints = append(facts.Endpoints, e)
	}
	limits := r.agent.cfg.Limits
	facts.MaxVirtualSessions = limits.MaxVirtual
	facts.MaxConcurrentSessionsPerUser = limits.MaxPerUser
	facts.MaxConsoleSessions = limits.MaxConsole
	return facts
}
