package membership

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// floor is the least time between two queries, should the registry answer at once
// again and again.
const floor = 20 * time.Millisecond

// follow keeps up with the document until the source ends.
func (k *Keeper) follow() {
	k.query(&k.documents, func(ctx context.Context, after uint64) (uint64, error) {
		asked := k.opt.Now()
		place, index, err := k.registry.Fleet(ctx, after, k.opt.Heartbeat)
		if err == nil {
			err = k.read(place, asked)
		}
		return index, err
	})
}

// observe keeps up with who is healthy.
func (k *Keeper) observe() {
	k.query(&k.listings, func(ctx context.Context, after uint64) (uint64, error) {
		asked := k.opt.Now()
		entries, index, err := k.registry.Healthy(ctx, after, k.opt.Heartbeat)
		if err == nil {
			k.mu.Lock()
			now := k.opt.Now()
			k.listed(entries, asked, now, k.opt.TTL)
			ghosts := k.ghosts(now)
			k.mu.Unlock()
			k.report(&k.haunted, ghosts)
			k.report(&k.failing, k.faulted(entries))
			k.look()
		}
		return index, err
	})
}

// faulted is why the registry does not count this broker as healthy, nil if it does or does
// not know it.
func (k *Keeper) faulted(entries []Entry) (why error) {
	for _, e := range entries {
		switch {
		case e.ID != k.self.ID:
		case e.Failing == "":
			return nil // it may be listed a second time, where it was before
		default:
			why = errors.New(e.Failing)
		}
	}
	return why
}

// query repeats ask, which waits for a change.
func (k *Keeper) query(o *outage, ask func(ctx context.Context, after uint64) (uint64, error)) {
	var index uint64
	failures := 0
	for k.life.Err() == nil {
		began := time.Now()
		ctx, cancel := context.WithTimeout(k.life, k.opt.Heartbeat+k.opt.callTimeout())
		next, err := ask(ctx, index)
		cancel()
		k.report(o, err)
		if err != nil {
			index = 0
			pause(k.life, backoff(failures, k.opt.Heartbeat))
			failures++
			continue
		}
		failures, index = 0, next
		if took := time.Since(began); took < floor {
			pause(k.life, floor-took)
		}
	}
}

// announce keeps this broker listed until it is to be withdrawn.
func (k *Keeper) announce() {
	defer k.unlist()
	registered, failures := false, 0
	for k.announcing.Err() == nil {
		ctx, cancel := context.WithTimeout(k.announcing, k.opt.callTimeout())
		err := ErrNotRegistered
		if registered {
			err = k.registry.Beat(ctx, k.self.ID)
		}
		if errors.Is(err, ErrNotRegistered) {
			err = k.registry.Register(ctx, k.self)
			registered = err == nil
		}
		cancel()
		k.report(&k.beats, err)
		if err != nil {
			pause(k.announcing, backoff(failures, k.opt.Heartbeat))
			failures++
			continue
		}
		failures = 0
		pause(k.announcing, k.opt.Heartbeat)
	}
}

// unlist tries once: the registry forgets who does not beat anyway.
func (k *Keeper) unlist() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.announcing), k.opt.callTimeout())
	defer cancel()
	if err := k.registry.Withdraw(ctx, k.self.ID); err != nil {
		k.log.Warn("this broker could not withdraw from the registry, which will find out by itself", "error", err)
	}
}

// report logs an outage of the registry now and then, and its end. The end of the
// source is not an outage.
func (k *Keeper) report(o *outage, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && (k.life.Err() != nil || k.announcing.Err() != nil) {
		return
	}
	o.note(k.log, k.opt.Now(), err)
}

// trouble is what keeps this broker from joining, as far as known.
func (k *Keeper) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return cmp.Or(k.documents.err, k.listings.err, k.writes.err, k.beats.err, k.failing.err, k.unreached.err, errNotTaken)
}

var errNotTaken = errors.New("no view holds this broker yet")

// outage is one that an operator should know of, but not every second.
type outage struct {
	begins, ends string // lines of the log
	err          error
	since        time.Time
	said         time.Time
}

func registryOutage(what string) outage {
	return outage{begins: "the registry does not serve, trying on: " + what, ends: "the registry serves again: " + what}
}

// sayAgain is the time between two lines about the same outage.
const sayAgain = 30 * time.Second

func (o *outage) note(log *slog.Logger, now time.Time, err error) {
	switch {
	case err == nil && o.err == nil:
		return
	case err == nil:
		log.Info(o.ends, "after", now.Sub(o.since).Round(time.Millisecond))
		*o = outage{begins: o.begins, ends: o.ends}
		return
	case o.err == nil:
		o.since = now
	}
	o.err = err
	if o.said.IsZero() || now.Sub(o.said) >= sayAgain {
		o.said = now
		log.Warn(o.begins, "error", err, "for", now.Sub(o.since).Round(time.Millisecond))
	}
}

// backoff grows to most, with jitter, so that brokers do not come back all at once.
func backoff(failures int, most time.Duration) time.Duration {
	d := min(most, 50*time.Millisecond<<min(failures, 10))
	return d/2 + rand.N(d/2+1)
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
