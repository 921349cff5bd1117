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
	// describers is how many connections send at once.
	describers     = 16
	describeBudget = 0.8
)

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

// figures are what is compared for one question.
type figures struct{ rate, cpu, p50, p99 report.Pairs }

func (r *Run) compareDescribe(sender *child.Child, broker, bare *server, sessions int, q question) error {
	body, err := r.sample(broker, q.requests[0])
	if err != nil {
		return err
	}
	if err := bare.Ask("answer", body, nil); err != nil {
		return err
	}
	var warm, got figures
	if err := r.describeRound(sender, broker, bare, q, &warm); err != nil {
		return err
	}
	r.say("describe: %d sessions, %s: %d rounds", sessions, q.name, r.Scale.Rounds)
	name := fmt.Sprintf("describe %d %s", sessions, q.name)
	err = r.profiled(broker.Child, name, func() error {
		return r.profiled(bare.Child, name+" bare", func() error {
			for range r.Scale.Rounds {
				if err := r.describeRound(sender, broker, bare, q, &got); err != nil {
					return err
				}
			}
			return nil
		})
	})
	r.addDescribe(fmt.Sprintf("describeSessions, %d sessions", sessions), q.name, got)
	return err
}

// describeRound asks the broker, then the bare server.
func (r *Run) describeRound(sender *child.Child, broker, bare *server, q question, got *figures) error {
	plan := load.Plan{Requests: q.requests, Duration: r.Scale.Round}
	ours, oursCPU, err := r.burst(sender, broker, plan)
	if err != nil {
		return err
	}
	theirs, theirsCPU, err := r.burst(sender, bare, plan)
	got.rate.Add(ours.PerSecond(), theirs.PerSecond())
	got.cpu.Add(oursCPU, theirsCPU)
	got.p50.Add(micros(ours.P50), micros(theirs.P50))
	got.p99.Add(micros(ours.P99), micros(theirs.P99))
	return err
}

func (r *Run) addDescribe(scenario, question string, got figures) {
	row := report.Row{Scenario: scenario, Of: "bare"}
	add := func(measure, unit string, budget float64, pairs report.Pairs) {
		row.Measure, row.Unit, row.Budget, row.AtLeast = question+": "+measure, unit, budget, budget > 0
		r.Report.AddPairs(row, pairs)
	}
	add("requests", "/s", describeBudget, got.rate)
	// Less is better here, so that the ratio is the other way round.
	r.Report.Add(report.Row{Scenario: scenario, Of: "bare", Measure: question + ": CPU, bare over ours", Unit: "us",
		Measured: report.Median(got.cpu.Measured), Baseline: report.Median(got.cpu.Baseline), Ratio: 1 / got.cpu.Ratio(),
		Budget: describeBudget, AtLeast: true})
	add("p50", "us", 0, got.p50)
	add("p99", "us", 0, got.p99)
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
func (r *Run) burst(sender *child.Child, s measured, plan load.Plan) (done roles.Sent, each float64, err error) {
	before, err := s.CPU()
	if err != nil {
		return done, 0, err
	}
	if err := sender.Ask("send", roles.Send{Addr: s.at().Addr, Plan: plan}, &done); err != nil {
		return done, 0, err
	}
	after, err := s.CPU()
	if err != nil {
		return done, 0, err
	}
	return done, float64((after-before)/time.Microsecond) / float64(max(done.Requests, 1)), nil
}
