package scenario

import (
	"context"
	"fmt"
	"time"

	"opensessionmanager/bench/fixture"
	"opensessionmanager/bench/load"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
)

const (
	// fewSessions is what the larger fleet is compared with.
	fewSessions   = 1000
	latencyBudget = 1.2
	// createRate is requests per second: well below what a broker can do, since a
	// queue would be measured otherwise.
	createRate = 200
	// liveAgents is how many of the seeded servers have an agent.
	liveAgents = 200
	// servers is how many are seeded, the same for both fleets.
	latencyServers = 10_000
)

// latency compares how long creates take in a large and in a small fleet.
func (r *Run) latency(ctx context.Context) error {
	var brokers [2]*server
	for i, sessions := range []int{r.Scale.Latency, fewSessions} {
		name := fmt.Sprintf("latency-%d", sessions)
		folder, err := r.newFolder(name)
		if err != nil {
			return err
		}
		r.say("latency: a fleet with %d sessions", sessions)
		if err := fixture.Seed(ctx, folder, latencyServers, sessions, func(i int) bool { return i < liveAgents }); err != nil {
			return err
		}
		if brokers[i], err = r.startBroker(ctx, name, roles.BrokerConfig{Folder: folder, Store: "embedded", Patient: true}); err != nil {
			return err
		}
		agents := roles.AgentsConfig{Count: liveAgents, Servers: latencyServers, Sessions: sessions, Live: true, PerSecond: 800}
		if err := r.startAgents(ctx, brokers[i], agents); err != nil {
			return err
		}
	}
	if err := pause(ctx, 2*time.Second); err != nil { // the first reports
		return err
	}
	return r.compareLatency(brokers)
}

func (r *Run) compareLatency(brokers [2]*server) error {
	sender, err := r.startLoad(creators, brokers[0], brokers[1])
	if err != nil {
		return err
	}
	live := func(int) string { return fixture.LiveRequirement }
	var p50, p99 [2][]float64
	var all [2][]time.Duration
	rounds := r.Scale.Rounds + 3 // the first is to warm up; a p99 needs more than a mean does
	for round := range rounds {
		r.say("latency: round %d of %d", round+1, rounds)
		for i, s := range brokers {
			var sent roles.Sent
			err := r.profiled(s.Child, s.name, func() error {
				return sender.Ask("send", roles.Send{Addr: s.Client, Plan: load.Plan{Requests: creates(s.token, 1, live),
					Duration: 4 * r.Scale.Round, Rate: createRate, Keep: true, Count: accepted}}, &sent)
			})
			if err != nil {
				return err
			}
			if sent.Counted < sent.Requests {
				return fmt.Errorf("only %d of %d sessions were accepted", sent.Counted, sent.Requests)
			}
			if round > 0 {
				all[i] = append(all[i], sent.Latencies...)
				p50[i], p99[i] = append(p50[i], micros(sent.P50)), append(p99[i], micros(sent.P99))
			}
		}
	}
	row := report.Row{Scenario: fmt.Sprintf("create latency, %d sessions present", r.Scale.Latency), Unit: "us",
		Of: fmt.Sprintf("with %d", fewSessions)}
	row.Measure = "p50, median of rounds"
	r.Report.AddPairs(row, report.Pairs{Measured: p50[0], Baseline: p50[1]})
	row.Measure, row.Budget = "p99, median of rounds", latencyBudget
	r.Report.AddPairs(row, report.Pairs{Measured: p99[0], Baseline: p99[1]})
	// One stall of the disk decides this one.
	row.Measure, row.Budget = "p99 of all rounds together", 0
	row.Measured, row.Baseline = micros(report.Percentile(all[0], 99)), micros(report.Percentile(all[1], 99))
	row.Ratio = row.Measured / row.Baseline
	r.Report.Add(row)
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Microseconds()) }
