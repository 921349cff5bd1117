package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"opensessionmanager/agent/identity"
	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// Ping intervals that a broker may ask for; a value outside is moved inside.
const (
	shortestBeat = 100 * time.Millisecond
	longestBeat  = 60 * time.Second
)

// freeRenewals is how many new identities are tried at once; more than that is
// the broker's mistake, and tried as slowly as any refusal.
const freeRenewals = 3

// hello introduces the agent and waits for the broker's consent.
func (a *Agent) hello(ctx context.Context, l *link) error {
	request := a.helloRequest(ctx)
	l.serverID = request.ServerId
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	frame := &messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: request}}
	if _, err := l.write(frame); err != nil {
		return err
	}
	answer, err := l.readHello(a.cfg.Timing.Hello)
	if err != nil {
		return err
	}
	if !answer.GetResult().GetSuccess() {
		return a.helloRefused(ctx, answer.GetResult())
	}
	if ours, theirs := messages.AgentProtocol(), answer.GetProtocolVersion(); !ours.WorksWith(theirs) {
		upgrade := "upgrade the agent"
		if theirs.OlderThan(ours) {
			upgrade = "upgrade the broker"
		}
		return refuse("this agent speaks agent protocol %s and works with brokers of %s; the broker speaks %s: %s",
			ours.Text(), ours.Range(), theirs.Text(), upgrade)
	}
	l.beat = a.cfg.Timing.Beat
	if seconds := answer.GetPingIntervalSeconds(); seconds > 0 {
		l.beat = min(time.Duration(seconds)*time.Second, longestBeat)
	}
	l.beat = max(l.beat, shortestBeat)
	a.log.Info("Connected to the broker", "broker", l.broker, "broker_version", answer.GetBrokerVersion(),
		"server_id", l.serverID, "ping_interval", l.beat)
	return nil
}

func (a *Agent) helloRequest(ctx context.Context) *messages.HelloRequest {
	facts := a.reporter.facts(ctx)
	return &messages.HelloRequest{
		RequestId:       agentproto.NewRequestID(),
		ProtocolVersion: messages.AgentProtocol(),
		ServerId:        a.serverID(facts),
		MachineId:       a.cfg.Identity.MachineID(),
		BootId:          a.cfg.Identity.BootID(),
		InstanceId:      a.cfg.Identity.InstanceID(),
		Facts:           facts,
		Load:            a.reporter.load(ctx),
	}
}

func (a *Agent) serverID(facts *messages.ServerFacts) string {
	return identity.ServerID(facts.GetHostname(), facts.GetIp(), a.cfg.Identity.MachineID())
}

// helloRefused acts on the broker's "no". A host copied with its data folder takes
// a new identity, and credentials of its own, and tries again (F13).
func (a *Agent) helloRefused(ctx context.Context, result *messages.Result) error {
	refused := refuse("the broker refused hello: %s %q", result.GetCode(), clip(result.GetError()))
	if result.GetCode() != messages.CodeDuplicateIdentity {
		return refused
	}
	old := a.cfg.Identity.MachineID()
	if err := a.cfg.Identity.Renew(); err != nil {
		return refusal{fmt.Errorf("%w; %w", refused, err)}
	}
	a.log.Error("Another host uses this host's identity, as after copying a disk image; this host took a new one",
		"old_machine_id", old, "machine_id", a.cfg.Identity.MachineID())
	if a.cfg.Tokens != nil {
		if err := a.cfg.Tokens.Replace(ctx); err != nil {
			a.log.Error("Cannot register this host as a client of its own; it goes on with the copied credentials", "error", err)
		}
	}
	if a.renewals++; a.renewals > freeRenewals {
		return refused
	}
	return errors.New("agent: reconnecting under a new identity")
}

// clip bounds text from outside, whole characters only: the codec refuses others.
func clip(s string) string {
	const longest = 300
	return strings.ToValidUTF8(s[:min(len(s), longest)], "")
}
