package roles

import (
	"errors"
	"fmt"
	"time"

	"opensessionmanager/bench/child"
	"opensessionmanager/bench/load"
	"opensessionmanager/bench/report"
)

// Dial asks for connections to a server, which later commands name by its address.
type Dial struct {
	Addr, CAFile string
	Connections  int
}

// Send is a plan for one server.
type Send struct {
	Addr string
	Plan load.Plan
}

// Sent is what came of it.
type Sent struct {
	Requests  int
	Counted   int
	Elapsed   time.Duration
	P50, P99  time.Duration
	Latencies []time.Duration `json:",omitzero"` // if asked for
}

// PerSecond is the rate of requests.
func (s Sent) PerSecond() float64 { return float64(s.Requests) / s.Elapsed.Seconds() }

// At names a server and how to be let in.
type At struct{ Addr, Token string }

// loader sends requests.
type loader struct{ clients map[string]*load.Client }

func (l *loader) commands() child.Commands {
	return child.Commands{
		"dial": child.Command(l.dial),
		"send": child.Command(l.send),
		"count": child.Command(func(at At) (any, error) {
			return l.with(at.Addr, func(c *load.Client) (any, error) { return c.Count(at.Token) })
		}),
		"delete": child.Command(func(at At) (any, error) {
			return l.with(at.Addr, func(c *load.Client) (any, error) { return nil, c.Delete(at.Token) })
		}),
	}
}

func (l *loader) dial(d Dial) (any, error) {
	client, err := load.Dial(d.Addr, d.CAFile, d.Connections)
	if err != nil {
		return nil, err
	}
	if l.clients == nil {
		l.clients = map[string]*load.Client{}
	}
	if old := l.clients[d.Addr]; old != nil {
		_ = old.Close()
	}
	l.clients[d.Addr] = client
	return nil, nil
}

func (l *loader) with(addr string, do func(*load.Client) (any, error)) (any, error) {
	client := l.clients[addr]
	if client == nil {
		return nil, fmt.Errorf("roles: no connection to %s", addr)
	}
	return do(client)
}

func (l *loader) send(s Send) (any, error) {
	return l.with(s.Addr, func(c *load.Client) (any, error) {
		out, err := c.Run(s.Plan)
		if err != nil {
			return nil, err
		}
		sent := Sent{Requests: out.Requests, Counted: out.Counted, Elapsed: out.Elapsed,
			P50: report.Percentile(out.Latencies, 50), P99: report.Percentile(out.Latencies, 99)}
		if s.Plan.Keep {
			sent.Latencies = out.Latencies
		}
		return sent, nil
	})
}

func (l *loader) stop() error {
	var errs []error
	for _, c := range l.clients {
		errs = append(errs, c.Close())
	}
	_ = errors.Join(errs...) // the servers may have gone first
	return nil
}
