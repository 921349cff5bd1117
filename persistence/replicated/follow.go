package replicated

import (
	"context"
	"errors"
	"time"

	"opensessionmanager/persistence"
)

// follow keeps this broker's copy equal to the leader's until the role ends.
func (s *Store) follow(ctx context.Context, leader string, term uint64) {
	for ctx.Err() == nil {
		err := s.enlist(ctx, leader, term)
		if err == nil {
			err = s.stay(ctx, leader, term)
		}
		if errors.Is(err, ErrOtherFleet) {
			s.log.Error("this broker cannot join the others", "error", err)
			s.mu.Lock()
			s.failure = err
			s.signal()
			s.mu.Unlock()
			return
		}
		if ctx.Err() == nil {
			s.log.Debug("this broker's copy is not complete yet", "error", err)
		}
		again := 20 * time.Millisecond
		if s.copy.health() != nil { // the leader would have to do without it again
			again = 3 * s.cfg.Lease
		}
		pause(ctx, again)
	}
}

// enlist has the leader send every change from now on, and then all that differs.
func (s *Store) enlist(ctx context.Context, leader string, term uint64) error {
	call := func(r request) (response, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r.Term = term
		return s.ask(ctx, leader, r)
	}
	if err := s.copy.quiet(ctx); err != nil { // what a former leader sent would come behind the comparison
		return err
	}
	s.mu.Lock()
	if s.role.Term == term {
		s.lacking = false
	}
	s.mu.Unlock()
	a, err := call(request{Ask: askAttach, Lineage: s.copy.lineage(), Empty: s.copy.empty(), Newest: s.copy.latest()})
	if a.Code == codeOtherFleet {
		return ErrOtherFleet
	}
	if err != nil {
		return err
	}
	if a.Discard {
		s.log.Warn("this broker was away for so long that its copy of the records is not looked at", "longest", keepMarks)
		if err := s.copy.clear(ctx); err != nil {
			return err
		}
	}
	if err := s.sync(ctx, call); err != nil {
		return err
	}
	sent := s.cfg.Now()
	if _, err := call(request{Ask: askSynced}); err != nil {
		return err
	}
	return s.renew(term, sent)
}

// sync walks through all keys and exchanges what is newer on one side.
func (s *Store) sync(ctx context.Context, call func(request) (response, error)) error {
	for after := (persistence.Key{}); ; {
		page, more := s.digest(after)
		a, err := call(request{Ask: askDigest, After: key{after.Kind, after.ID}, Changes: page, More: more})
		if err != nil {
			return err
		}
		if err := s.copy.take(ctx, nil, ops(a.Changes)); err != nil {
			return err
		}
		for _, offer := range s.wanted(a.Want) {
			if _, err := call(request{Ask: askOffer, Changes: offer}); err != nil {
				return err
			}
		}
		switch {
		case a.Upto != nil:
			next := persistence.Key{Kind: a.Upto.Kind, ID: a.Upto.ID}
			if compareKeys(next, after) <= 0 {
				return errors.New("replicated: the leader goes in circles")
			}
			after = next
		case more:
			after = page[len(page)-1].op().Record.Key
		default:
			return nil
		}
	}
}

// digest is a page of versions behind a key.
func (s *Store) digest(after persistence.Key) (page []change, more bool) {
	s.copy.walk(after, func(op persistence.Op) bool {
		if more = len(page) == digestPage; more {
			return false
		}
		c := toWire(op)
		c.Data = nil
		page = append(page, c)
		return true
	})
	return page, more
}

// wanted is what the leader lacks, in parts of bounded size.
func (s *Store) wanted(keys []key) [][]change {
	var parts [][]change
	var part []change
	size := 0
	for _, k := range keys {
		op, ok := s.copy.get(persistence.Key{Kind: k.Kind, ID: k.ID})
		if !ok {
			continue
		}
		if len(part) == maxBatch || size+len(op.Record.Data) > maxBatchBytes && len(part) > 0 {
			parts, part, size = append(parts, part), nil, 0
		}
		part, size = append(part, toWire(op)), size+len(op.Record.Data)
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// stay renews the lease until the leader does not count this broker as a follower, or it
// lacks something.
func (s *Store) stay(ctx context.Context, leader string, term uint64) error {
	for pause(ctx, s.cfg.Lease/5) {
		sent := s.cfg.Now()
		call, cancel := context.WithTimeout(ctx, s.cfg.Lease)
		a, err := s.ask(call, leader, request{Ask: askBeat, Term: term})
		cancel()
		if a.Code == codeDetached {
			s.lacks(term)
		}
		if err == nil || a.Code == codeDetached {
			if err := s.renew(term, sent); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

var (
	errLacking      = errors.New("replicated: this broker's copy lacks something")
	errNotFollowing = errors.New("replicated: this broker does not follow that one")
)

// renew: the leader confirmed at the given time, or later, that it sends every change.
// It is an error if one of them could not be kept.
func (s *Store) renew(term uint64, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.role.Term != term || s.role.Leader == s.role.Self:
		return errNotFollowing
	case s.lacking:
		return errLacking
	}
	s.lease = at
	if !s.ready {
		s.ready = true
		s.signal()
		s.log.Info("this broker's copy of the store is complete", "term", term)
	}
	return nil
}

// lacks: the copy is not read until it was compared again.
func (s *Store) lacks(term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role.Term == term {
		s.ready, s.lacking = false, true
		s.signal()
	}
}

// keep takes changes that the leader sends.
func (s *Store) keep(ctx context.Context, from string, r request) response {
	follows := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.role.Leader != from || s.role.Term != r.Term || s.role.Self == from {
			return errNotFollowing
		}
		return nil
	}
	err := s.copy.take(ctx, follows, ops(r.Changes))
	switch {
	case err == nil:
		return response{}
	case errors.Is(err, errNotFollowing):
		return response{Code: codeNotFollowing, Error: err.Error()}
	case ctx.Err() != nil: // nobody waits for the answer
		return response{Code: codeUncertain, Error: err.Error()}
	}
	s.log.Error("a change of the leader could not be kept", "error", err)
	s.lacks(r.Term) // before the leader goes on without this broker
	return response{Code: codeNotFollowing, Error: "its disk could not keep a change"}
}
