package replicated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"opensessionmanager/persistence"
)

// Apply implements persistence.Store. Whoever leads does the work; if it dies meanwhile
// the next one is asked, who recognises what was done already.
func (s *Store) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := make([]persistence.Result, len(ops))
	if err := s.begin(ctx); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer s.running.Done()
	var batch []change
	var places []int
	size := 0
	flush := func() {
		s.commit(ctx, batch, func(i int, r persistence.Result) { results[places[i]] = r })
		batch, places, size = nil, nil, 0
	}
	for i, op := range ops {
		if err := op.Check(); err != nil {
			results[i].Err = err
			continue
		}
		if len(batch) == maxBatch || size+len(op.Record.Data) > maxBatchBytes && len(batch) > 0 {
			flush()
		}
		c := toWire(op)
		c.Base, c.Version = op.Record.Version, s.nextVersion(op.Record.Version)
		if c.Data = bytes.Clone(c.Data); op.Delete {
			c.Data = nil
		}
		batch, places, size = append(batch, c), append(places, i), size+len(c.Data)
	}
	if len(batch) > 0 {
		flush()
	}
	return results
}

// commit has a batch done by whoever leads.
func (s *Store) commit(ctx context.Context, batch []change, done func(int, persistence.Result)) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	sent := false
	for {
		role, err := s.await(ctx, false)
		var results []result
		if err == nil {
			results, err = s.send(ctx, role, batch)
			if err == nil {
				for i, r := range results {
					done(i, r.meaning(batch[i], sent))
				}
				return
			}
			sent = sent || !errors.Is(err, errNotDone)
		}
		if ctx.Err() != nil || !pause(ctx, 10*time.Millisecond) {
			kind := persistence.ErrUnavailable
			if sent {
				kind = persistence.ErrUncertain
			}
			for i := range batch {
				done(i, persistence.Result{Err: fmt.Errorf("%w: %w", kind, err)})
			}
			return
		}
	}
}

func (s *Store) send(ctx context.Context, role Role, batch []change) ([]result, error) {
	s.mu.Lock()
	acting := s.acting
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(acting, cancel)() // a leader that stands still answers nobody
	if role.Leader == role.Self {
		return s.lead(ctx, role.Self, role.Term, batch)
	}
	a, err := s.ask(ctx, role.Leader, request{Ask: askApply, Term: role.Term, Changes: batch})
	switch {
	case a.Code == codeNotLeading:
		return nil, errNotLeading
	case err == nil && len(a.Results) != len(batch):
		return nil, errors.New("replicated: the leader answers another batch")
	}
	return a.Results, err
}

// meaning is a result in the words of a store. If an earlier try may have arrived, what
// stands against this one may be behind that: only a read tells.
func (r result) meaning(c change, tried bool) persistence.Result {
	switch {
	case tried && (r.Code == codeConflict || r.Code == codeNotFound):
		return persistence.Result{Err: persistence.ErrOvertaken}
	case r.Code == codeConflict:
		return persistence.Result{Err: persistence.ErrConflict}
	case r.Code == codeNotFound:
		return persistence.Result{Err: persistence.ErrNotFound}
	case c.Gone:
		return persistence.Result{}
	}
	return persistence.Result{Version: r.Version}
}

var (
	errNotDone    = errors.New("replicated: nothing was done")
	errNotLeading = fmt.Errorf("%w: this broker does not lead", errNotDone)
)

func refusal(err error) response {
	if errors.Is(err, errNotDone) {
		return response{Code: codeNotLeading, Error: err.Error()}
	}
	return response{Code: codeUncertain, Error: err.Error()}
}

// alone does something while nothing else is written. It begins only if somebody still
// waits for it; what has begun ends, but is not waited for longer than ctx.
func (s *Store) alone(ctx context.Context, do func() error) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotDone, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		<-s.writing
		return fmt.Errorf("%w: %w", errNotDone, err)
	}
	done := make(chan error, 1)
	s.loops.Go(func() {
		defer func() { <-s.writing }()
		done <- do()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("replicated: not done in time: %w", ctx.Err())
	}
}

// lead does a batch of a broker as the leader.
func (s *Store) lead(ctx context.Context, from string, term uint64, batch []change) ([]result, error) {
	var results []result
	err := s.alone(ctx, func() error {
		if err := s.leads(term, true); err != nil {
			return err
		}
		var changes []persistence.Op
		results, changes = s.judge(from, batch)
		return s.replicate(term, changes)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// leads is nil while this broker leads in a term and may act, and has gathered what the
// others know, if that matters.
func (s *Store) leads(term uint64, gathered bool) error {
	s.mu.Lock()
	role, ready := s.role, s.ready
	s.mu.Unlock()
	switch {
	case role.Leader != role.Self || role.Term != term || role.Self == "":
		return errNotLeading
	case gathered && !ready:
		return fmt.Errorf("%w yet: it gathers what the others know", errNotLeading)
	}
	if err := s.cfg.Permit(); err != nil {
		return fmt.Errorf("%w: %w", errNotLeading, err)
	}
	return nil
}

// judge compares versions, and says what is to be written. Later changes of a key in the
// batch see the earlier ones. A follower that builds on what is not here has it from a
// change that failed, and is to bring it.
func (s *Store) judge(from string, batch []change) ([]result, []persistence.Op) {
	results := make([]result, len(batch))
	var changes []persistence.Op
	written := map[persistence.Key]persistence.Op{}
	for i, c := range batch {
		op := c.op()
		found, exists := written[op.Record.Key]
		if !exists {
			found, exists = s.copy.get(op.Record.Key)
		}
		current := found.Record.Version
		if exists && current == op.Record.Version && found.Delete == op.Delete {
			results[i].Version = current // it was done before; its answer was lost
			continue
		}
		if found.Delete {
			exists = false
		}
		switch {
		case op.Delete && !exists:
			results[i].Code = codeNotFound
			continue
		case exists && current != c.Base, !exists && c.Base != 0:
			results[i].Code = codeConflict
			if c.Base > current {
				s.doubt(from)
			}
			continue
		}
		if op.Record.Version <= current { // the sender's clock is late
			op.Record.Version = s.nextVersion(current)
		}
		results[i].Version = op.Record.Version
		written[op.Record.Key] = op
		changes = append(changes, op)
	}
	return results, changes
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
