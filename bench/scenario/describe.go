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

// describers is how many connections send at once.
const describers = 16

// question is one way of asking for sessions.
type question struct {
	name     string
	requests [][]byte
}

// describe compares describeSessions with a bare handler that sends the same bytes.
func (r *Run) describe(ctx context.Context) error {
	for _, sessions := range r.Scale.Sessions {
		if err := r.describeFleet(ctx, sessions); err != nil {
			return err
		}
		r.stopAll()
	}
	return nil
}

func (r *Run) describeFleet(ctx context.Context, sessions int) error {
	folder, err := r.newFolder("describe")
	if err != nil {
		return err
	}
	servers := max(1, sessions/10)
	r.say("describe: %d sessions on %d servers", sessions, servers)
	if err := fixture.Seed(ctx, folder, servers, sessions, func(int) bool { return false }); err != nil {
		return err
	}
	broker, err := r.startBroker(ctx, "describe", roles.BrokerConfig{Folder: folder, Store: "embedded", Patient: true})
	if err != nil {
		return err
	}
	bare, err := r.startBare()
	if err != nil {
		return err
	}
	sender, err := r.startLoad(describers, broker, bare)
	if err != nil {
		return err
	}
	for _, q := range r.questions(broker.token, sessions) {
		if err := r.compareDescribe(sender, broker, bare, sessions, q); err != nil {
			return err
		}
	}
	return nil
}

// questions asks for sessions by id in random order, and for the first page of all.
func (r *Run) questions(token string, sessions int) []question {
	ask := func(ids int) [][]byte {
		var requests [][]byte
		for range 1000 {
			body := new(strings.Builder)
			for k := range ids {
				if k > 0 {
					body.WriteByte(',')
				}
				fmt.Fprintf(body, "%q", fixture.SessionID(r.Random.IntN(sessions)))
			}
			requests = append(requests, load.Request("POST", "/describeSessions", token, `{"SessionIds":[`+body.String()+`]}`))
		}
		return requests
	}
	return []question{
		{"1 id", ask(1)},
		{"100 ids", ask(100)},
		{"page of 1,000", [][]byte{load.Request("POST", "/describeSessions", token, "{}")}},
	}
}

func (r *Run) compareDescribe(sender *child.Child, broker, bare *server, sessions int, q question) error {
	body, err := r.sample(broker, q.requests[0])
	if err != nil {
		return err
	}
	if err := bare.Ask("answer", body, nil); err != nil {
		return err
	}
	var rate, cpu, p50, p99 report.Pairs
	run := func(s *server) (done roles.Sent, each float64, err error) {
		return r.burst(sender, s, load.Plan{Requests: q.requests, Duration: r.Scale.Round})
	}
	for _, s := range []*server{broker, bare} { // warm up
		if _, _, err := run(s); err != nil {
			return err
		}
	}
	r.say("describe: %d sessions, %s: %d rounds", sessions, q.name, r.Scale.Rounds)
	name := fmt.Sprintf("describe %d %s", sessions, q.name)
	err = r.profiled(broker.Child, name, func() error {
		return r.profiled(bare.Child, name+" bare", func() error {
			for range r.Scale.Rounds {
				ours, oursCPU, err := run(broker)
				if err != nil {
					return err
				}
				theirs, theirsCPU, err := run(bare)
				if err != nil {
					return err
				}
				rate.Add(ours.PerSecond(), theirs.PerSecond())
				cpu.Add(theirsCPU, oursCPU)
				p50.Add(float64(ours.P50.Microseconds()), float64(theirs.P50.Microseconds()))
				p99.Add(float64(ours.P99.Microseconds()), float64(theirs.P99.Microseconds()))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	row := report.Row{Scenario: fmt.Sprintf("describeSessions, %d sessions", sessions), Of: "bare"}
	add := func(measure, unit string, budget float64, pairs report.Pairs) {
		row.Measure, row.Unit, row.Budget, row.AtLeast = q.name+": "+measure, unit, budget, budget > 0
		r.Report.AddPairs(row, pairs)
	}
	add("requests", "/s", 0.8, rate)
	r.Report.Add(report.Row{Scenario: row.Scenario, Of: "bare", Measure: q.name + ": bare CPU over ours", Unit: "us",
		Measured: report.Median(cpu.Baseline), Baseline: report.Median(cpu.Measured), Ratio: cpu.Ratio(), Budget: 0.8, AtLeast: true})
	add("p50", "us", 0, p50)
	add("p99", "us", 0, p99)
	return nil
}

// sample is the body of one answer.
func (r *Run) sample(s *server, request []byte) ([]byte, error) {
	client, err := load.Dial(s.Client, s.CAFile, 1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	return client.Do(request)
}

// burst has a plan carried out and says what the server's CPU spent on each request,
// in microseconds.
func (r *Run) burst(sender *child.Child, s *server, plan load.Plan) (done roles.Sent, each float64, err error) {
	before, err := s.CPU()
	if err != nil {
		return done, 0, err
	}
	if err := sender.Ask("send", roles.Send{Addr: s.Client, Plan: plan}, &done); err != nil {
		return done, 0, err
	}
	after, err := s.CPU()
	if err != nil {
		return done, 0, err
	}
	return done, float64((after-before)/time.Microsecond) / float64(max(done.Requests, 1)), nil
}
