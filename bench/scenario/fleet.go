package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/fixture"
	"opensessionmanager/bench/load"
	"opensessionmanager/bench/report"
	"opensessionmanager/bench/roles"
	"opensessionmanager/persistence/consul"
	"opensessionmanager/persistence/consul/consultest"
)

const (
	fleetCPUBudget    = 1.2 // of a describe request, three brokers to one
	fleetCreateBudget = 0.4 // placements with Consul KV, to the memory store
	ofThree           = 3
)

// fleet measures what several brokers cost that meet in a real Consul, and what a
// client sees of the death of one.
func (r *Run) fleet(ctx context.Context) error {
	folder, err := r.newFolder("consul")
	if err != nil {
		return err
	}
	server, err := consultest.Launch(folder, consultest.Options{})
	if errors.Is(err, consultest.ErrNotBuilt) { // what was measured before is not to be lost
		r.Report.Note("FLEET NOT MEASURED: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer server.Kill()
	for _, part := range []func(context.Context, string) error{r.fleetDescribe, r.fleetEngine, r.fleetCreate, r.fleetDeath} {
		err := part(ctx, server.Address())
		r.stopAll()
		if err != nil {
			return err
		}
	}
	return nil
}

// company is the brokers of one fleet.
type company struct {
	brokers []*server
	configs []roles.BrokerConfig
	token   string
}

// startCompany starts n brokers that meet under a prefix of the keys of a Consul.
func (r *Run) startCompany(ctx context.Context, n int, prefix string, like roles.BrokerConfig) (*company, error) {
	c := &company{}
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i+1)
		folder, err := r.newFolder(name)
		if err != nil {
			return nil, err
		}
		cfg := like
		cfg.Folder, cfg.Store, cfg.Prefix = folder, "consul", prefix+"/"
		if i > 0 {
			cfg.First = c.configs[0].Folder
		}
		s, err := r.startProcess(name, cfg)
		if err != nil {
			return nil, err
		}
		c.brokers, c.configs = append(c.brokers, s), append(c.configs, cfg)
	}
	if err := c.brokers[0].becomeClient(ctx, c.configs[0].Folder); err != nil {
		return nil, err
	}
	c.token = c.brokers[0].token
	return c, nil
}

// CPU is what all brokers used.
func (c *company) CPU() (all time.Duration, err error) {
	for _, b := range c.brokers {
		used, err := b.CPU()
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

func (c *company) at() roles.At { return roles.At{Addr: c.addresses(), Token: c.token} }

func (c *company) trust() string { return c.brokers[0].CAFile }

// addresses are those of the client ports, separated by commas.
func (c *company) addresses() string {
	return c.join(func(s *server) string { return s.Client })
}

func (c *company) join(of func(*server) string) string {
	all := make([]string, len(c.brokers))
	for i, b := range c.brokers {
		all[i] = of(b)
	}
	return strings.Join(all, ",")
}

// member is one broker of a company that is asked while all are measured.
type member struct {
	*company
	asked *server
}

func (m member) at() roles.At { return roles.At{Addr: m.asked.Client, Token: m.token} }

// fleetDescribe compares what a describe request costs all brokers of a fleet of three
// with what it costs a fleet of one, heartbeats included.
func (r *Run) fleetDescribe(ctx context.Context, address string) error {
	var fleets [2]*company
	for i, n := range []int{1, ofThree} {
		prefix := fmt.Sprintf("describe-%d", n)
		r.say("fleet: %d sessions for %d brokers", r.Scale.FleetSessions, n)
		store, err := consul.Open(consul.Config{Addresses: []string{address}, Prefix: prefix})
		if err != nil {
			return err
		}
		err = fixture.SeedStore(ctx, store, max(1, r.Scale.FleetSessions/10), r.Scale.FleetSessions, func(int) bool { return false })
		_ = store.Close()
		if err != nil {
			return err
		}
		if fleets[i], err = r.startCompany(ctx, n, prefix, roles.BrokerConfig{Consul: address, Patient: true}); err != nil {
			return err
		}
	}
	asked := []measured{fleets[0], fleets[1]}
	for _, b := range fleets[1].brokers {
		asked = append(asked, member{fleets[1], b})
	}
	sender, err := r.startLoad(describers-describers%ofThree, asked...)
	if err != nil {
		return err
	}
	questions := [2][]question{r.questions(fleets[0].token, r.Scale.FleetSessions), r.questions(fleets[1].token, r.Scale.FleetSessions)}
	for i := range questions[0] {
		if err := r.compareFleets(sender, asked, questions[0][i], questions[1][i]); err != nil {
			return err
		}
	}
	return nil
}

// compareFleets asks the fleet of one, one broker of three, and all three. The first of
// asked is the fleet of one, the second all three, then each of them.
func (r *Run) compareFleets(sender *child.Child, asked []measured, one, three question) error {
	r.say("fleet: describe, %s: %d rounds", one.name, r.Scale.Rounds)
	var rate, cpu, rateAll, cpuAll report.Pairs
	for round := range r.Scale.Rounds + 1 {
		var sent [3]roles.Sent
		var each [3]float64
		for i, whom := range []measured{asked[0], asked[2+round%ofThree], asked[1]} {
			plan := load.Plan{Requests: three.requests, Duration: r.Scale.Round}
			if i == 0 {
				plan.Requests = one.requests
			}
			var err error
			if sent[i], each[i], err = r.burst(sender, whom, plan); err != nil {
				return err
			}
		}
		if round > 0 { // the first is to warm up
			rate.Add(sent[1].PerSecond(), sent[0].PerSecond())
			cpu.Add(each[1], each[0])
			rateAll.Add(sent[2].PerSecond(), sent[0].PerSecond())
			cpuAll.Add(each[2], each[0])
		}
	}
	row := report.Row{Scenario: fmt.Sprintf("fleet of three, %d sessions", r.Scale.FleetSessions), Of: "of one"}
	add := func(measure, unit string, budget float64, pairs report.Pairs) {
		row.Measure, row.Unit, row.Budget = "describe "+one.name+": "+measure, unit, budget
		r.Report.AddPairs(row, pairs)
	}
	add("requests, one asked", "/s", 0, rate)
	add("CPU of all, one asked", "us", fleetCPUBudget, cpu)
	add("requests, all asked", "/s", 0, rateAll)
	add("CPU of all, all asked", "us", 0, cpuAll)
	return nil
}
