package scenario

import (
	"context"
	"fmt"
	"time"

	"opensessionmanager/bench/fixture"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
)

const (
	megabyte   = 1 << 20
	idleBudget = 50.0  // MB
	fullBudget = 512.0 // MB, with the fleet of DefaultScale
	coldBudget = 1.0   // seconds
	// settle is how long a full broker is watched. Each agent reports at once and again
	// between 15 and 30 seconds later.
	settle = 30 * time.Second
)

// memory measures an idle broker and a full one.
func (r *Run) memory(ctx context.Context) error {
	if err := r.idle(ctx); err != nil {
		return err
	}
	r.stopAll()
	return r.full(ctx)
}

func (r *Run) idle(ctx context.Context) error {
	var cold []float64
	var resident int64
	for range 3 {
		folder, err := r.newFolder("idle")
		if err != nil {
			return err
		}
		process, err := r.start(roles.Broker, "idle")
		if err != nil {
			return err
		}
		var at roles.BrokerAddresses
		if err := process.Ask("start", roles.BrokerConfig{Folder: folder, Store: "embedded"}, &at); err != nil {
			return err
		}
		cold = append(cold, time.Since(process.Started).Seconds())
		if err := pause(ctx, 1500*time.Millisecond); err != nil {
			return err
		}
		used, err := process.Memory()
		if err != nil {
			return err
		}
		resident = max(resident, used.Resident)
		r.stopAll()
	}
	r.say("memory: idle measured")
	r.budget("idle broker", "cold start to ready, new keys included", "s", report.Median(cold), coldBudget)
	r.budget("idle broker", "resident", "MB", float64(resident)/megabyte, idleBudget)
	return nil
}

// budget adds a row whose baseline is a budget that is not a ratio.
func (r *Run) budget(scenario, measure, unit string, measured, budget float64) {
	r.Report.Add(report.Row{Scenario: scenario, Measure: measure, Measured: measured, Unit: unit, Baseline: budget, Of: "budget",
		Ratio: measured / budget, Budget: 1})
}

func (r *Run) full(ctx context.Context) error {
	folder, err := r.newFolder("full")
	if err != nil {
		return err
	}
	agents, sessions := r.Scale.MemoryAgents, r.Scale.MemorySessions
	if err := fixture.Seed(ctx, folder, agents, sessions, func(int) bool { return true }); err != nil {
		return err
	}
	broker, err := r.startBroker(ctx, "full", roles.BrokerConfig{Folder: folder, Store: "embedded", Patient: true})
	if err != nil {
		return err
	}
	ready := time.Since(broker.Started)
	began := time.Now()
	r.say("memory: connecting %d agents to a broker with %d sessions", agents, sessions)
	if err := r.startAgents(ctx, broker, roles.AgentsConfig{Count: agents, Servers: agents, Sessions: sessions, Live: true, PerSecond: 900}); err != nil {
		return err
	}
	connected := time.Since(began)
	if err := r.watch(ctx, settle); err != nil {
		return err
	}
	var inside roles.Runtime
	used, err := broker.Memory()
	if err != nil {
		return err
	}
	if err := broker.Ask("runtime", struct{}{}, &inside); err != nil {
		return err
	}
	if r.Profiles != "" {
		if err := broker.Ask("heap", r.Profiles+"/full.heap", nil); err != nil {
			return err
		}
	}
	full := DefaultScale()
	share := max(float64(agents)/float64(full.MemoryAgents), float64(sessions)/float64(full.MemorySessions))
	limit := idleBudget + (fullBudget-idleBudget)*share
	name := fmt.Sprintf("broker with %d agents, %d sessions", agents, sessions)
	r.budget(name, "resident", "MB", float64(used.Resident)/megabyte, limit)
	r.Report.Add(report.Row{Scenario: name, Measure: "live heap of it", Unit: "MB", Measured: float64(inside.LiveHeap) / megabyte,
		Baseline: float64(used.Resident) / megabyte, Of: "resident", Ratio: float64(inside.LiveHeap) / float64(used.Resident)})
	r.Report.Note("Full broker: ready %.1f s after its start with %d stored sessions; %d agents connected in %.0f s; peak %.0f MB; %d goroutines with %.0f MB of stacks.",
		ready.Seconds(), sessions, agents, connected.Seconds(), float64(used.Peak)/megabyte, inside.Goroutines, float64(inside.Stacks)/megabyte)
	if share != 1 {
		r.Report.Note("The memory budget was scaled to %.0f MB: 50 MB idle and %.2f of the rest.", limit, share)
	}
	return nil
}

// watch waits and says so.
func (r *Run) watch(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		r.say("memory: reports come in, %d s more", int(left.Seconds()))
		if err := pause(ctx, min(left, 5*time.Second)); err != nil {
			return err
		}
	}
}
