package replicated

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"opensessionmanager/persistence"
)

// follower is a broker that has what the leader has.
type follower struct {
	id     string
	heard  time.Time // its latest beat
	failed bool      // it may lack something, or have what we lack; its beats are refused
	synced bool

	lineage string // of its records when it came
	empty   bool   // it had none
}

// adoption is whose records an empty leader takes: those of the first that brings any.
type adoption struct{ from, lineage string }

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
		if err := s.alone(ctx, func() error { return s.found(term) }); err != nil && !pause(ctx, 50*time.Millisecond) {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role.Term == term && s.role.Leader == s.role.Self && ctx.Err() == nil {
		s.ready = true
		s.signal()
		s.log.Info("the store is led by this broker", "term", term, "followers", len(s.followers))
	}
}

// found writes the lineage: that of the records that are being brought, or a new one.
func (s *Store) found(term uint64) error {
	if err := s.leads(term, false); err != nil {
		return err
	}
	s.mu.Lock()
	lineage := cmp.Or(s.adopted.lineage, rand.Text())
	s.mu.Unlock()
	return s.replicate(term, []persistence.Op{{Record: persistence.Record{Key: lineageKey, Version: s.nextVersion(0), Data: []byte(lineage)}}})
}

// replicate writes changes here and at all followers. If it fails they may be anywhere,
// and the followers are looked through again; so whoever has one brings it. The caller is
// alone.
func (s *Store) replicate(term uint64, changes []persistence.Op) error {
	if len(changes) == 0 {
		return nil
	}
	s.mu.Lock()
	acting, role := s.acting, s.role
	followers := slices.Collect(maps.Values(s.followers))
	s.mu.Unlock()
	if role.Term != term || role.Leader != role.Self {
		return errNotLeading
	}
	if err := s.copy.lock(acting); err != nil {
		return fmt.Errorf("%w: %w", errNotDone, err)
	}
	defer s.copy.unlock()
	errs := make([]error, len(followers))
	var writing sync.WaitGroup
	for i, f := range followers {
		writing.Go(func() { errs[i] = s.push(acting, f, request{Ask: askCopy, Term: term, Changes: allToWire(changes)}) })
	}
	kept := s.copy.toDisk(changes)
	writing.Wait()
	if kept == nil {
		s.copy.put(changes)
	}
	err := errors.Join(append(errs, kept)...)
	if err == nil {
		err = s.certain(acting, term)
	}
	if err != nil {
		s.doubt(s.following()...)
	}
	return err
}

// certain is nil if this broker may lead still. Followers that it went on without may
// otherwise be going on without this broker, which then answered for nobody. A slow hello
// is waited for: to be uncertain costs more.
func (s *Store) certain(ctx context.Context, term uint64) error {
	for begun := s.cfg.Now(); ; {
		err := s.leads(term, false)
		if err == nil {
			return nil
		}
		if age(s.cfg.Now(), begun) > 2*s.cfg.Lease || !pause(ctx, s.cfg.Lease/50) {
			return fmt.Errorf("replicated: what was written may be here only: %v", err) // not errNotDone: something was
		}
	}
}

func (s *Store) following() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.followers))
}

// doubt has followers look through everything again.
func (s *Store) doubt(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if f := s.followers[id]; f != nil {
			f.failed = true // its beats are refused from now on
		}
	}
}

// push has one follower keep changes, or goes on without it once it cannot be reading
// any more. One whose disk hangs beats nevertheless, so that is ended here.
func (s *Store) push(ctx context.Context, f *follower, r request) error {
	begun, patience := s.cfg.Now(), s.cfg.Lease
	for {
		call, cancel := context.WithTimeout(ctx, patience)
		a, err := s.ask(call, f.id, r)
		cancel()
		switch {
		case err == nil:
			return nil
		case a.Term > r.Term:
			return errors.New("replicated: another broker leads by now")
		case a.Code == codeNotFollowing: // it does not read under this leader
			s.detach(f, a.Error)
			return nil
		case errors.Is(err, errRefused), age(s.cfg.Now(), begun) > 2*s.cfg.Lease:
			s.doubt(f.id)
			patience = s.cfg.Lease / 4
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
func (s *Store) attach(ctx context.Context, from string, r request) response {
	var a response
	err := s.alone(ctx, func() error { // a change under way would be missed
		if err := s.leads(r.Term, false); err != nil {
			return err
		}
		if err := s.copy.quiet(ctx); err != nil { // and one of the former leader
			return fmt.Errorf("%w: %w", errNotDone, err)
		}
		f := &follower{id: from, heard: s.cfg.Now(), lineage: r.Lineage, empty: r.Empty}
		horizon := s.horizon()
		discard := !r.Empty && r.Newest < horizon && s.copy.latest() >= horizon
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.belongs(f) {
			a = s.foreign(from)
			return nil
		}
		s.followers[from] = f
		a = response{Discard: discard}
		return nil
	})
	if err != nil {
		return refusal(err)
	}
	return a
}

// belongs says whether a broker's records may be joined with these; mu is held.
func (s *Store) belongs(f *follower) bool {
	if f.empty {
		return true
	}
	if s.copy.empty() && s.followers[s.adopted.from] == nil {
		s.adopted = adoption{f.id, f.lineage}
	}
	ours := cmp.Or(s.copy.lineage(), s.adopted.lineage)
	return f.id == s.adopted.from || ours != "" && ours == f.lineage
}

func (s *Store) foreign(from string) response {
	s.log.Error("a broker of another fleet wants to join; it is refused", "broker", from)
	return response{Code: codeOtherFleet, Error: ErrOtherFleet.Error()}
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

// accept joins what a follower has that is newer, and hands it to the others.
func (s *Store) accept(ctx context.Context, from string, r request) response {
	var a response
	err := s.alone(ctx, func() error {
		if err := s.leads(r.Term, false); err != nil {
			return err
		}
		s.mu.Lock()
		switch f := s.followers[from]; {
		case f == nil:
			a = response{Code: codeDetached, Error: "it does not follow"}
		case !s.belongs(f):
			a = s.foreign(from)
		}
		s.mu.Unlock()
		fresh := s.copy.fresh(ops(r.Changes))
		if a.Code != "" || len(fresh) == 0 {
			return nil
		}
		if err := s.replicate(r.Term, fresh); err != nil {
			return err
		}
		s.log.Info("records that only another broker had are joined", "broker", from, "records", len(fresh))
		return nil
	})
	if err != nil {
		return refusal(err)
	}
	return a
}
