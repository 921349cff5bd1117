//go:build fleet

package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// perform does the faults of the plan when their time comes. What makes no sense any
// more, such as pausing a broker that is not there, is left out.
func (r *historyRun) perform(ctx context.Context) {
	begin := time.Now()
	for _, f := range r.plan.faults {
		sleepOrEnd(ctx, f.at-time.Since(begin))
		if ctx.Err() != nil {
			return
		}
		r.do(f)
	}
	sleepOrEnd(ctx, r.plan.length-time.Since(begin))
}

func (r *historyRun) do(f fault) {
	switch f.what {
	case killConsul, startConsul, pauseConsul, resumeConsul:
		r.doConsul(f.what)
	case cutOff, mend, failCreates, slowCreates, stallHost, unhealthyHost, lateStarts:
		r.hosts[f.target].suffer(f)
	case deafen, hangPeers, cutConsul, hangConsul, reconnect:
		r.doValves(f)
	case join:
		r.setDown(f.target, false)
		r.f.brokers[f.target].launch()
	default:
		r.doBroker(f)
	}
	r.done = append(r.done, fmt.Sprintf("%.3f %s %d", float64(r.record.Now())/1e9, f.what, f.target))
}

func (r *historyRun) doBroker(f fault) {
	b := r.f.brokers[f.target]
	if b.proc == nil {
		return // it never joined
	}
	switch f.what {
	case kill:
		r.setDown(f.target, true)
		b.proc.kill()
	case leave:
		r.setDown(f.target, true)
		b.thaw()
		askToEnd(b.proc.cmd.Process)
	case start_:
		b.revive()
		r.setDown(f.target, false)
	case freeze:
		if b.proc.running() {
			r.setDown(f.target, true)
			b.freeze()
		}
	case thaw:
		if b.proc.running() {
			b.thaw()
			r.setDown(f.target, false)
		}
	}
}

func (r *historyRun) doConsul(what deed) {
	switch what {
	case killConsul:
		r.f.consul.Kill()
	case startConsul:
		r.f.consul.Restart()
	case pauseConsul:
		r.f.consul.Pause()
	case resumeConsul:
		r.f.consul.Resume()
	}
}

// doValves parts one broker from others or from Consul.
func (r *historyRun) doValves(f fault) {
	peers, consul := r.peers[f.target], r.consuls[f.target]
	switch f.what {
	case deafen, hangPeers:
		peers.shut(f.what == hangPeers)
	case cutConsul, hangConsul:
		consul.shut(f.what == hangConsul)
	case reconnect:
		peers.open()
		consul.open()
	}
}

// launch starts the broker without waiting for anything.
func (b *broker) launch() {
	b.t.Helper()
	b.proc = start(b.t, b.log, brokerProgram, "--config", b.file)
}

// revive starts the broker again if it ended, or as soon as it has.
func (b *broker) revive() {
	b.t.Helper()
	if b.proc.running() {
		await(b.t, "the end of a broker that was asked to", func() error {
			if b.proc.running() {
				return errors.New("it still runs")
			}
			return nil
		})
	}
	b.launch()
}

// heal ends all harm and waits until every broker is well.
func (r *historyRun) heal() {
	r.f.consul.Resume()
	if r.consulDown() {
		r.f.consul.Restart()
	}
	for _, h := range r.hosts {
		h.suffer(fault{what: mend})
	}
	for i, b := range r.f.brokers {
		r.doValves(fault{what: reconnect, target: i})
		if b.proc != nil {
			b.thaw()
			r.setDown(i, false)
		}
	}
	for _, b := range r.f.brokers {
		if b.proc != nil {
			await(r.f.t, "a healthy broker", func() error {
				if !b.proc.running() { // it could not start without Consul
					b.launch()
				}
				return b.healthy()
			})
		}
	}
}

// consulDown: the last thing that happened to Consul was its death.
func (r *historyRun) consulDown() bool {
	down := false
	for _, f := range r.plan.faults {
		switch f.what {
		case killConsul:
			down = true
		case startConsul:
			down = false
		}
	}
	return down
}
