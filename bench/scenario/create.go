package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/fixture"
	"opensessionmanager/bench/load"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
)

const (
	// placementBudget is sessions per second on 2 CPUs.
	placementBudget = 4000
	storeBudget     = 0.5
	creators        = 16
	batch           = 50
)

// accepted is what an answer holds once for each session that was accepted.
const accepted = `"Id":"`

// engine measures placements without sockets: actors, gateway and store, and hosts
// that answer on the spot.
func (r *Run) engine(ctx context.Context) error {
	r.say("engine: two with %d hosts", r.Scale.Engine)
	var both [2]*child.Child
	for i, store := range stores {
		folder, err := r.newFolder("engine-" + store)
		if err != nil {
			return err
		}
		if both[i], err = r.start(roles.Engine, "engine-"+store); err != nil {
			return err
		}
		cfg := roles.EngineConfig{Folder: folder, Store: store, Servers: r.Scale.Engine}
		if err := both[i].Ask("start", cfg, nil); err != nil {
			return err
		}
	}
	var accepted, ready [2][]float64
	plan := roles.Create{Callers: creators, Batch: batch, Duration: 2 * r.Scale.Round}
	for round := range r.Scale.Rounds {
		r.say("engine: round %d of %d", round+1, r.Scale.Rounds)
		for i, store := range stores {
			var out roles.Created
			err := r.profiled(both[i], "engine "+store, func() error { return both[i].Ask("create", plan, &out) })
			if err != nil {
				return err
			}
			if out.Refused > 0 {
				return fmt.Errorf("%d of %d creates were refused", out.Refused, out.Refused+out.Accepted)
			}
			accepted[i] = append(accepted[i], float64(out.Accepted)/out.Elapsed.Seconds())
			ready[i] = append(ready[i], float64(out.Accepted)/out.Settled.Seconds())
		}
	}
	r.addStores(fmt.Sprintf("placements in the engine, %d servers", r.Scale.Engine), "placed", accepted, placementBudget)
	r.addStores(fmt.Sprintf("placements in the engine, %d servers", r.Scale.Engine), "READY", ready, 0)
	return ctx.Err()
}

// stores are compared with each other: the first is the baseline.
var stores = [2]string{"memory", "embedded"}

// addStores adds a row for the memory store against a budget in sessions per second,
// if there is one, and a row for the embedded store against the memory store.
func (r *Run) addStores(scenario, measure string, rates [2][]float64, budget float64) {
	row := report.Row{Scenario: scenario, Measure: measure + ", memory store", Unit: "/s", Measured: report.Median(rates[0])}
	if budget > 0 {
		row.Baseline, row.Of, row.Ratio, row.Budget, row.AtLeast = budget, "budget", row.Measured/budget, 1, true
	}
	r.Report.Add(row)
	r.Report.AddPairs(report.Row{Scenario: scenario, Measure: measure + ", embedded store", Unit: "/s", Of: "memory",
		Budget: storeBudget, AtLeast: true}, report.Pairs{Measured: rates[1], Baseline: rates[0]})
}

// create measures creates over the API, with agents behind WebSockets.
func (r *Run) create(ctx context.Context) error {
	var brokers [2]*server
	for i, store := range stores {
		folder, err := r.newFolder("create-" + store)
		if err != nil {
			return err
		}
		if brokers[i], err = r.startBroker(ctx, store, roles.BrokerConfig{Folder: folder, Store: store}); err != nil {
			return err
		}
		r.say("create: connecting %d agents to the broker with the %s store", r.Scale.Agents, store)
		if err := r.startAgents(ctx, brokers[i], roles.AgentsConfig{Count: r.Scale.Agents, PerSecond: 800}); err != nil {
			return err
		}
	}
	sender, err := r.startLoad(creators, brokers[0], brokers[1])
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // the first reports
		return err
	}
	for _, size := range []int{10, batch} {
		if err := r.createBatches(sender, brokers, size); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) createBatches(sender *child.Child, brokers [2]*server, size int) error {
	var accepted, ready, cpu [2][]float64
	rounds := max(2, r.Scale.Rounds-2)
	for round := range rounds {
		r.say("create: %d in a request, round %d of %d", size, round+1, rounds)
		for i, s := range brokers {
			err := r.profiled(s.Child, fmt.Sprintf("create %s %d", s.name, size), func() error {
				out, err := r.createRound(sender, s, size)
				if err != nil {
					return err
				}
				accepted[i], ready[i], cpu[i] = append(accepted[i], out.accepted), append(ready[i], out.ready), append(cpu[i], out.cpu)
				return nil
			})
			if err != nil {
				return err
			}
			if err := sender.Ask("delete", s.at(), nil); err != nil {
				return err
			}
		}
	}
	name := fmt.Sprintf("createSessions, %d agents, %d in a request", r.Scale.Agents, size)
	r.addStores(name, "accepted", accepted, 0)
	r.addStores(name, "READY", ready, 0)
	r.Report.AddPairs(report.Row{Scenario: name, Measure: "CPU per session, embedded store", Unit: "us", Of: "memory"},
		report.Pairs{Measured: cpu[1], Baseline: cpu[0]})
	return nil
}

// created is the outcome of one round of creates.
type created struct {
	accepted, ready float64 // per second
	cpu             float64 // the broker's, in microseconds per session that is READY
}

func (r *Run) createRound(sender *child.Child, s measured, size int) (out created, err error) {
	before, err := s.CPU()
	if err != nil {
		return out, err
	}
	began := time.Now()
	var sent roles.Sent
	plan := load.Plan{Requests: creates(s.at().Token, size, fixture.Requirement), Duration: 2 * r.Scale.Round, Count: accepted}
	if err := sender.Ask("send", roles.Send{Addr: s.at().Addr, Plan: plan}, &sent); err != nil {
		return out, err
	}
	if sent.Counted < sent.Requests*size {
		return out, fmt.Errorf("only %d of %d sessions were accepted", sent.Counted, sent.Requests*size)
	}
	if err := r.awaitReady(sender, s, sent.Counted); err != nil {
		return out, err
	}
	took := time.Since(began).Seconds()
	after, err := s.CPU()
	out.accepted = float64(sent.Counted) / sent.Elapsed.Seconds()
	out.ready = float64(sent.Counted) / took
	out.cpu = float64((after-before)/time.Microsecond) / float64(max(sent.Counted, 1))
	return out, err
}

// awaitReady polls until as many sessions are READY.
func (r *Run) awaitReady(sender *child.Child, s measured, want int) error {
	for patience := time.Now().Add(time.Minute); ; {
		var counts load.Counts
		if err := sender.Ask("count", s.at(), &counts); err != nil {
			return err
		}
		if counts["READY"] >= want {
			return nil
		}
		if time.Now().After(patience) {
			return fmt.Errorf("of %d sessions only %v came to be", want, counts)
		}
	}
}

// creates are requests for sessions of many owners with requirements.
func creates(token string, size int, requirement func(int) string) [][]byte {
	var requests [][]byte
	for n := range 200 {
		var items []string
		for k := range size {
			i := n*size + k
			items = append(items, fmt.Sprintf(`{"Name":"desktop %d","Owner":%q,"Type":"VIRTUAL","Requirements":%q}`, i, fixture.Owner(i), requirement(i)))
		}
		requests = append(requests, load.Request("POST", "/createSessions", token, "["+strings.Join(items, ",")+"]"))
	}
	return requests
}
