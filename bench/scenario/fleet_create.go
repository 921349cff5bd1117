package scenario

import (
	"context"
	"fmt"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
)

// fleetEngine is the scenario engine with Consul's KV beside the memory store.
func (r *Run) fleetEngine(ctx context.Context, address string) error {
	r.say("fleet: two engines with %d hosts", r.Scale.Engine)
	var both [2]*child.Child
	stores := [2]string{"memory", "consul"}
	for i, store := range stores {
		folder, err := r.newFolder("fleet-engine-" + store)
		if err != nil {
			return err
		}
		if both[i], err = r.start(roles.Engine, "fleet-engine-"+store); err != nil {
			return err
		}
		cfg := roles.EngineConfig{Folder: folder, Store: store, Servers: r.Scale.Engine, Consul: address}
		if err := both[i].Ask("start", cfg, nil); err != nil {
			return err
		}
	}
	var placed report.Pairs
	plan := roles.Create{Callers: creators, Batch: batch, Duration: 2 * r.Scale.Round}
	for round := range r.Scale.Rounds + 1 {
		var rates [2]float64
		for i, store := range stores {
			r.say("fleet: engine with store %s, round %d of %d", store, round+1, r.Scale.Rounds+1)
			var out roles.Created
			err := r.profiled(both[i], "fleet engine "+store, func() error { return both[i].Ask("create", plan, &out) })
			if err != nil {
				return err
			}
			if out.Refused > 0 {
				return fmt.Errorf("%d of %d creates were refused", out.Refused, out.Refused+out.Accepted)
			}
			rates[i] = float64(out.Accepted) / out.Elapsed.Seconds()
		}
		if round > 0 { // the first is to warm up
			placed.Add(rates[1], rates[0])
		}
	}
	r.Report.AddPairs(report.Row{Scenario: fmt.Sprintf("placements in the engine, %d servers", r.Scale.Engine), Measure: "placed, Consul KV",
		Unit: "/s", Of: "memory", Budget: fleetCreateBudget, AtLeast: true}, placed)
	return ctx.Err()
}

// fleetCreate compares creates over the API of a fleet of three with those of a fleet of
// one, both with Consul's KV. All share the processors, so three cannot be faster.
func (r *Run) fleetCreate(ctx context.Context, address string) error {
	var fleets [2]*company
	for i, n := range []int{1, ofThree} {
		var err error
		if fleets[i], err = r.startCompany(ctx, n, fmt.Sprintf("create-%d", n), roles.BrokerConfig{Consul: address}); err != nil {
			return err
		}
		r.say("fleet: connecting %d agents to %d brokers", r.Scale.FleetAgents, n)
		if _, err := r.startFleetAgents(ctx, fleets[i]); err != nil {
			return err
		}
	}
	sender, err := r.startLoad(creators-creators%ofThree, fleets[0], fleets[1])
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // the first reports
		return err
	}
	var accepted, ready, cpu report.Pairs
	rounds := max(2, r.Scale.Rounds-2)
	for round := range rounds + 1 {
		r.say("fleet: create, round %d of %d", round+1, rounds+1)
		var out [2]created
		for i, f := range fleets {
			err := r.profiled(f.brokers[0].Child, fmt.Sprintf("fleet create %d", len(f.brokers)), func() (err error) {
				out[i], err = r.createRound(sender, f, batch)
				return err
			})
			if err != nil {
				return err
			}
			if err := sender.Ask("delete", f.at(), nil); err != nil {
				return err
			}
		}
		if round > 0 {
			accepted.Add(out[1].accepted, out[0].accepted)
			ready.Add(out[1].ready, out[0].ready)
			cpu.Add(out[1].cpu, out[0].cpu)
		}
	}
	row := report.Row{Scenario: fmt.Sprintf("createSessions in a fleet of three, %d agents", r.Scale.FleetAgents), Of: "of one", Unit: "/s"}
	row.Measure = "accepted, Consul KV"
	r.Report.AddPairs(row, accepted)
	row.Measure = "READY, Consul KV"
	r.Report.AddPairs(row, ready)
	row.Measure, row.Unit = "CPU per session, without Consul's", "us"
	r.Report.AddPairs(row, cpu)
	return nil
}

// startFleetAgents connects hosts that know all brokers of a fleet.
func (r *Run) startFleetAgents(ctx context.Context, c *company) (*child.Child, error) {
	all := *c.brokers[0]
	all.Agent = c.join(func(s *server) string { return s.Agent })
	err := r.startAgents(ctx, &all, roles.AgentsConfig{Count: r.Scale.FleetAgents, PerSecond: 800})
	return r.children[len(r.children)-1], err
}
