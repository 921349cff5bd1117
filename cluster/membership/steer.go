package membership

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// steer looks at the situation whenever it may have changed, and acts on it.
func (k *Keeper) steer() {
	for k.life.Err() == nil {
		timer := time.NewTimer(k.turn())
		select {
		case <-k.wake:
		case <-timer.C:
		case <-k.life.Done():
		}
		timer.Stop()
	}
}

// turn acts once and says when to look again if nothing happens.
func (k *Keeper) turn() time.Duration {
	k.mu.Lock()
	now := k.opt.Now()
	k.expire(now)
	s := k.situation(now)
	doubt := k.attend(s, now)
	waits := k.list(s, now)
	early := now.Before(k.quiet)
	var p *proposal
	if k.asked && !k.garbled && !early && (k.phase == joining || k.phase == member) {
		p = decide(s)
	}
	version := k.version
	k.mu.Unlock()
	if p != nil {
		k.propose(p, version)
	}
	if doubt || waits || early || p != nil || !s.missing.IsZero() || len(s.absent) > 0 {
		return k.opt.ProbeTimeout / 3
	}
	return k.opt.Heartbeat
}

// situation is what decide is to know.
func (k *Keeper) situation(now time.Time) *situation {
	s := &situation{rules: k.opt.rules(), now: now, self: k.self, stored: k.stored, held: k.held, missing: k.missing,
		left: k.left, absent: maps.Clone(k.absent), suspects: maps.Clone(k.suspects), probes: k.readable(), removal: k.removal}
	s.confirmed = k.Confirmed()
	if age(now, k.healthyAt) <= k.opt.TTL {
		s.healthy = k.healthy
	}
	return s
}

// list begins to announce this broker once there is a view it could be added to: so
// whoever is listed is, or was, a member or about to become one. A broker that the
// living members do not understand is refused, also when it is listed already: the
// registry may have missed such a member for a moment. One that they and it cannot reach
// waits. It reports whether it waits.
func (k *Keeper) list(s *situation, now time.Time) (waits bool) {
	if k.stored == nil || s.healthy == nil || k.phase != joining && k.phase != member {
		return false
	}
	if m := s.misfit(k.stored, k.self); m != nil && k.phase == joining {
		if _, listed := s.healthy[m.ID]; !listed {
			return false // dead or only late: that shows within the wait
		}
		k.refuse(fmt.Errorf("%w: member %s at %s speaks protocol %d to %d, this broker %d to %d: %s",
			ErrIncompatible, m.ID, m.Address, m.Oldest, m.Protocol, k.self.Oldest, k.self.Protocol, advice(k.self, *m)))
		k.decided()
		return false
	}
	if k.listing {
		return false
	}
	if k.phase == joining && !k.reaches(s, now) {
		return true
	}
	k.listing = true
	k.work.Go(k.announce)
	return false
}

// reaches asks the members whether they can be reached from here and this broker from
// there. To join without would only stop the others: each waits for all, until they have
// found out and removed it, and it would join again. Of one that the registry does not
// list, dead or not listed yet, only a first answer counts: it might be that of somebody
// who takes this broker for a stranger.
func (k *Keeper) reaches(s *situation, now time.Time) bool {
	reached := true
	for _, m := range k.stored.Members {
		if k.left[m.ID] || m.ID == k.self.ID || m.Address == k.self.Address {
			continue // the last: this broker is in its place
		}
		_, listed := s.healthy[m.ID]
		if p := k.probes[m.ID]; !listed && p != nil && !p.at.IsZero() {
			continue
		}
		k.ask(m, now)
		p := k.probes[m.ID]
		if p.at.IsZero() || p.failures > 0 && !p.gone {
			reached = false
		}
		if p.failures >= deadlyProbes && !p.gone {
			k.unreached.note(k.log, now, fmt.Errorf("member %s at %s, this broker at %s", m.ID, m.Address, k.self.Address))
		}
	}
	if reached {
		k.unreached.note(k.log, now, nil)
	}
	return reached
}

// advice says what an operator has to do so that two brokers work together.
func advice(self, other Entry) string {
	if self.Protocol < other.Oldest {
		return "start the version that the others run"
	}
	return "this version is too new for it; upgrade the fleet to the versions in between first, one after the other"
}

// attend probes everybody while there is doubt about somebody, because who answers
// tells that it is not this broker that is cut off, and while the registry does not
// confirm the view. It reports whether there is doubt.
func (k *Keeper) attend(s *situation, now time.Time) bool {
	if k.phase != member {
		return false
	}
	doubt := slices.ContainsFunc(k.held.Members, func(m Entry) bool { return doubtful(s, m.ID) })
	if doubt || k.unconfirmed(now) > 2*k.opt.Heartbeat {
		for _, m := range k.held.Members {
			if m.ID != k.self.ID && !k.left[m.ID] {
				k.ask(m, now)
			}
		}
	}
	return doubt
}

// ask probes a member unless that is under way or was done just now.
func (k *Keeper) ask(m Entry, now time.Time) {
	p := k.probes[m.ID]
	if p == nil {
		p = &probing{}
		k.probes[m.ID] = p
	}
	if p.running || now.Before(p.next) {
		return
	}
	p.running = true
	held := k.held
	k.work.Go(func() {
		ctx, cancel := context.WithTimeout(k.life, k.opt.ProbeTimeout)
		err := k.probe(ctx, Member{ID: m.ID, Address: m.Address})
		cancel()
		k.mu.Lock()
		same := agrees(err) && k.held == held
		k.settleProbe(m.ID, err, same, now, k.opt.Now(), k.opt)
		fate := unchanged
		if errors.Is(err, ErrStranger) { // waiting does not help a broker that wants to join
			fate = k.refuse(fmt.Errorf("member %s: %w", m.ID, err))
		}
		k.mu.Unlock()
		k.meet(fate, nil)
		k.look()
	})
}

// propose checks and sets. What it changed comes back through follow; until then, or
// for a moment if it failed, nothing else is proposed.
func (k *Keeper) propose(p *proposal, version uint64) {
	data, err := p.next.encode()
	if err != nil {
		k.log.Error("the next view cannot be written", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(k.life, k.opt.callTimeout())
	swapped, err := k.registry.Swap(ctx, version, data, p.clear)
	cancel()
	k.report(&k.writes, err)
	if swapped && p.removed != "" {
		k.log.Warn("removed a broker from the fleet", "member", p.removed, "because", p.why, "epoch", p.next.Epoch)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version != version {
		return // follow was faster
	}
	k.quiet = k.opt.Now().Add(backoff(1, time.Second))
	if swapped {
		k.quiet = k.opt.Now().Add(k.opt.TTL) // follow ends it
	}
}
