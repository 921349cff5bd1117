package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/load"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
)

const (
	writesBudget = 2 * time.Second  // after kill -9, until every session can be changed
	rehomeBudget = 15 * time.Second // until all agents are at other brokers
	deaths       = 3
	doomed       = 300 // sessions that are looked at after each death
)

// suffered is what one death did.
type suffered struct {
	reads, writes, agents time.Duration
	seen                  load.Seen
}

// fleetDeath kills one of three brokers under load, several times, each another one.
func (r *Run) fleetDeath(ctx context.Context, address string) error {
	c, err := r.startCompany(ctx, ofThree, "death", roles.BrokerConfig{Consul: address, KeepDeleted: time.Hour})
	if err != nil {
		return err
	}
	r.say("fleet: connecting %d agents to three brokers", r.Scale.FleetAgents)
	hosts, err := r.startFleetAgents(ctx, c)
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // the first reports
		return err
	}
	var all []suffered
	for i := range deaths {
		r.say("fleet: kill -9, %d of %d", i+1, deaths)
		s, err := r.die(ctx, c, c.brokers[i%ofThree], hosts)
		if err != nil {
			return err
		}
		r.say("fleet: reads %v, writes %v, agents %v, failed twice %d: %v", s.reads.Round(time.Millisecond), s.writes.Round(time.Millisecond),
			s.agents.Round(time.Millisecond), s.seen.FailedTwice, s.seen.Why)
		all = append(all, s)
		if err := r.revive(ctx, c, i%ofThree); err != nil {
			return err
		}
	}
	r.addDeaths(all)
	return nil
}

// die kills a broker while clients work, and watches.
func (r *Run) die(ctx context.Context, c *company, victim *server, hosts *child.Child) (s suffered, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w, err := load.NewWitness(strings.Split(c.addresses(), ","), c.trust(), c.token)
	if err != nil {
		return s, err
	}
	defer w.Close()
	sessions, err := w.Create(ctx, doomed)
	if err != nil {
		return s, err
	}
	working, stop := context.WithCancel(ctx)
	idle := make(chan struct{})
	go func() { defer close(idle); w.Work(working, slices.Collect(maps.Keys(sessions))) }()
	defer func() { stop(); <-idle }()
	if err := pause(ctx, time.Second); err != nil {
		return s, err
	}
	began := time.Now()
	if err := victim.Kill(); err != nil {
		return s, err
	}
	w.Died(victim.Client)
	var reading, writing error
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.reads, reading = w.Every(ctx, sessions, func(ctx context.Context, id, _ string) error { return w.Read(ctx, id) })
	}()
	s.writes, writing = w.Every(ctx, sessions, w.Write)
	<-read
	away := 0
	for away < r.Scale.FleetAgents && err == nil {
		if err = hosts.Ask("away", victim.Agent, &away); err == nil {
			err = pause(ctx, 20*time.Millisecond)
		}
	}
	s.agents, s.seen = time.Since(began), w.Seen()
	return s, errors.Join(err, reading, writing)
}

// revive starts a killed broker where it was and waits for the agents' peace.
func (r *Run) revive(ctx context.Context, c *company, i int) error {
	cfg, old := c.configs[i], c.brokers[i]
	for _, port := range []struct {
		at *int
		of string
	}{{&cfg.ClientPort, old.Client}, {&cfg.AgentPort, old.Agent}} {
		if _, err := fmt.Sscanf(port.of[strings.LastIndex(port.of, ":"):], ":%d", port.at); err != nil {
			return err
		}
	}
	s, err := r.startProcess(old.name, cfg)
	if err != nil {
		return err
	}
	s.token, c.brokers[i] = c.token, s
	return pause(ctx, 3*time.Second)
}

func (r *Run) addDeaths(all []suffered) {
	name := fmt.Sprintf("kill -9 of one of three, %d agents, worst of %d", r.Scale.FleetAgents, len(all))
	worst := func(of func(suffered) time.Duration) float64 {
		return slices.MaxFunc(all, func(a, b suffered) int { return int(of(a) - of(b)) }).seconds(of)
	}
	sum := func(of func(load.Seen) int) (n float64) {
		for _, s := range all {
			n += float64(of(s.seen))
		}
		return n
	}
	r.Report.Add(report.Row{Scenario: name, Measure: "first read of every session", Unit: "s", Measured: worst(func(s suffered) time.Duration { return s.reads })})
	r.budget(name, "first write to every session", "s", worst(func(s suffered) time.Duration { return s.writes }), writesBudget.Seconds())
	r.Report.Add(report.Row{Scenario: name, Measure: "longest pause between reads", Unit: "s", Measured: worst(func(s suffered) time.Duration { return s.seen.Pause })})
	r.budget(name, "all agents at other brokers", "s", worst(func(s suffered) time.Duration { return s.agents }), rehomeBudget.Seconds())
	living, failed := sum(func(s load.Seen) int { return s.Living }), sum(func(s load.Seen) int { return s.LivingFailed })
	r.Report.Add(report.Row{Scenario: name, Measure: "answered at once by living brokers", Measured: living - failed, Baseline: living, Of: "asked",
		Ratio: (living - failed) / living, Budget: 1, AtLeast: true})
	requests, twice := sum(func(s load.Seen) int { return s.Requests }), sum(func(s load.Seen) int { return s.FailedTwice })
	r.Report.Add(report.Row{Scenario: name, Measure: "failed although tried twice", Measured: twice, Baseline: requests, Of: "requests",
		Ratio: twice / requests})
}

func (s suffered) seconds(of func(suffered) time.Duration) float64 { return of(s).Seconds() }
