package replicated

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"opensessionmanager/persistence"
)

// follower is a broker that has what the leader has.
type follower struct {
	id     string
	heard  time.Time // its latest beat
	failed bool      // it could not keep a change; its beats are refused
	synced bool
}

// gather waits until the others that are there have brought what they know, and then
// has this broker serve.
func (s *Store) gather(ctx context.Context, term uint64) {
	s.mu.Lock()
	waiting := slices.Clone(s.role.Alive)
	s.mu.Unlock()
	deadline := s.cfg.Now().Add(s.cfg.Gather)
	for {
		s.mu.Lock()
		changed := s.changed
		waiting = slices.DeleteFunc(waiting, func(id string) bool {
			f := s.followers[id]
			return f != nil && f.synced || !slices.Contains(s.role.Alive, id)
		})
		s.mu.Unlock()
		left := deadline.Sub(s.cfg.Now())
		if len(waiting) > 0 && left <= 0 {
			s.log.Warn("the store goes on without the copies of brokers that did not bring them", "brokers", waiting)
		}
		if len(waiting) == 0 || left <= 0 {
			break
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
	s.serve(ctx, term)
}

// serve begins to serve as leader. The first one ever gives the records their lineage.
func (s *Store) serve(ctx context.Context, term uint64) {
	for s.copy.lineage() == "" {
		s.writing.Lock()
		mark := persistence.Op{Record: persistence.Record{Key: lineageKey, Version: s.nextVersion(0), Data: []byte(rand.Text())}}
		err := s.leads(term, false)
		if err == nil {
			err = s.replicate(term, []persistence.Op{mark})
		}
		s.writing.Unlock()
		if err != nil && !pause(ctx, 50*time.Millisecond) {
			return
		}
	}
	s.mu.Lock()
	if s.role.Term == term && s.role.Leader == s.role.Self && ctx.Err() == nil {
		s.ready = true
		s.signal()
		s.log.Info("the store is led by this broker", "term", term, "followers", len(s.followers))
	}
	s.mu.Unlock()
	for pause(ctx, keepMarks/100) {
		if err := s.copy.prune(ctx, s.horizon()); err != nil && ctx.Err() == nil {
			s.log.Warn("old marks of deleted records could not be forgotten", "error", err)
		}
	}
}

// replicate writes changes here and at all followers. If it fails they may be anywhere.
// The caller holds writing.
func (s *Store) replicate(term uint64, changes []persistence.Op) error {
	s.mu.Lock()
	acting := s.acting
	followers := make([]*follower, 0, len(s.followers))
	for _, f := range s.followers {
		followers = append(followers, f)
	}
	s.mu.Unlock()
	errs := make([]error, len(followers)+1)
	var writing sync.WaitGroup
	for i, f := range followers {
		writing.Go(func() { errs[i] = s.push(acting, f, request{Ask: askCopy, Term: term, Changes: allToWire(changes)}) })
	}
	if s.copy.disk != nil {
		errs[len(followers)] = s.copy.disk.Keep(acting, changes)
	}
	writing.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.mu.Lock()
	still := s.role.Term == term && s.role.Leader == s.role.Self
	s.mu.Unlock()
	if !still {
		return errors.New("replicated: this broker stopped leading meanwhile")
	}
	s.copy.put(changes)
	return nil
}

// push has one follower keep changes, or goes on without it once it cannot be reading
// any more.
func (s *Store) push(ctx context.Context, f *follower, r request) error {
	for {
		call, cancel := context.WithTimeout(ctx, s.cfg.Lease)
		a, err := s.ask(call, f.id, r)
		cancel()
		switch {
		case err == nil:
			return nil
		case a.Term > r.Term:
			return errors.New("replicated: another broker leads by now")
		case a.Code == codeNotFollowing: // it does not read under this leader
			s.detach(f, "it follows no more")
			return nil
		case errors.Is(err, errRefused):
			s.mu.Lock()
			f.failed = true // its beats are refused from now on
			s.mu.Unlock()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.expired(f) {
			s.detach(f, err.Error())
			return nil
		}
		if !pause(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// expired: the follower certainly reads no more.
func (s *Store) expired(f *follower) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.role.Gone, f.id) || age(s.cfg.Now(), f.heard) > s.cfg.Lease*5/4
}

// detach goes on without a follower; it finds out by its next beat.
func (s *Store) detach(f *follower, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[f.id] == f {
		delete(s.followers, f.id)
		s.signal()
		s.log.Warn("the store goes on without a broker's copy", "broker", f.id, "because", why)
	}
}

// attach counts a broker among the followers: from now on it gets every change.
func (s *Store) attach(from string, r request) response {
	s.writing.Lock() // a change under way would be missed
	defer s.writing.Unlock()
	if err := s.leads(r.Term, false); err != nil {
		return refusal(err)
	}
	mine := s.copy.lineage()
	if !s.copy.empty() && !r.Empty && (mine != r.Lineage || mine == "") {
		s.log.Error("a broker of another fleet wants to join; it is refused", "broker", from)
		return response{Code: codeOtherFleet, Error: ErrOtherFleet.Error()}
	}
	horizon := s.horizon()
	discard := !r.Empty && r.Newest < horizon && s.copy.latest() >= horizon
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers[from] = &follower{id: from, heard: s.cfg.Now()}
	return response{Discard: discard}
}

// beat confirms that a broker still gets every change.
func (s *Store) beat(from string, r request) response {
	if err := s.leads(r.Term, false); err != nil {
		return refusal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followers[from]
	if f == nil || f.failed {
		return response{Code: codeDetached, Error: "its copy may lack something"}
	}
	f.heard = s.cfg.Now()
	if r.Ask == askSynced && !f.synced {
		f.synced = true
		s.signal()
	}
	return response{}
}

// compare says which entries behind a key differ from those of a follower.
func (s *Store) compare(from string, r request) response {
	if err := s.leads(r.Term, false); err != nil {
		return refusal(err)
	}
	theirs := make(map[persistence.Key]int64, len(r.Changes))
	var end *persistence.Key
	for _, c := range r.Changes {
		theirs[c.op().Record.Key] = c.Version
	}
	if n := len(r.Changes); r.More && n > 0 {
		last := r.Changes[n-1].op().Record.Key
		end = &last
	}
	a := response{}
	size, seen := 0, map[persistence.Key]bool{}
	s.copy.walk(persistence.Key{Kind: r.After.Kind, ID: r.After.ID}, func(op persistence.Op) bool {
		k := op.Record.Key
		if end != nil && compareKeys(k, *end) > 0 {
			return false
		}
		if size > maxBatchBytes || len(a.Changes) >= maxBatch {
			return false
		}
		seen[k] = true
		if version := theirs[k]; version < op.Record.Version {
			a.Changes = append(a.Changes, toWire(op))
			size += len(op.Record.Data) + 1
		} else if version > op.Record.Version {
			a.Want = append(a.Want, key{k.Kind, k.ID})
		}
		a.Upto = &key{k.Kind, k.ID}
		return true
	})
	full := size > maxBatchBytes || len(a.Changes) >= maxBatch
	if !full {
		a.Upto = nil
	}
	for k := range theirs {
		if !seen[k] && (a.Upto == nil || compareKeys(k, persistence.Key{Kind: a.Upto.Kind, ID: a.Upto.ID}) < 0) {
			a.Want = append(a.Want, key{k.Kind, k.ID})
		}
	}
	return a
}

// accept joins what a follower has that is newer, and hands it to the others.
func (s *Store) accept(from string, r request) response {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.leads(r.Term, false); err != nil {
		return refusal(err)
	}
	fresh := s.copy.fresh(ops(r.Changes))
	if len(fresh) == 0 {
		return response{}
	}
	if err := s.replicate(r.Term, fresh); err != nil {
		return refusal(err)
	}
	s.log.Info("records that only another broker had are joined", "broker", from, "records", len(fresh))
	return response{}
}
