package mirror

import (
	"bytes"
	"context"
	"errors"
	"time"

	"opensessionmanager/persistence"
)

// batchSize and batchPause keep the writing back from pressing the store.
const (
	batchSize  = 256
	batchPause = 20 * time.Millisecond
)

// Run watches the store until ctx ends, and writes back what it lost.
func (s *Store) Run(ctx context.Context) {
	pulse := time.NewTicker(s.cfg.Pulse)
	defer pulse.Stop()
	away, fresh, glanced := false, time.Time{}, time.Time{}
	for ctx.Err() == nil {
		err := s.intact(ctx)
		if err == nil {
			s.deleteAgain(ctx)
		}
		switch {
		case errors.Is(err, ErrWiped):
			s.restore(ctx)
			fresh = time.Time{}
			continue
		case err != nil:
			away = true
		case away:
			away = false
			s.cfg.Back()
		case time.Since(fresh) >= s.cfg.Refresh:
			if s.refresh(ctx) {
				fresh, glanced = time.Now(), time.Now()
			}
		case time.Since(glanced) >= s.glance():
			s.readNew(ctx)
			glanced = time.Now()
		}
		select {
		case <-pulse.C:
		case <-s.look:
		case <-ctx.Done():
		}
	}
}

// refresh learns what other brokers wrote, and forgets what they deleted.
func (s *Store) refresh(ctx context.Context) bool {
	for kind := range s.kinds {
		before := s.known(func(key persistence.Key, _ remembered) bool { return key.Kind == kind })
		seen := map[string]bool{}
		err := s.Walk(ctx, kind, func(id string) bool { seen[id] = true; return true },
			func([]persistence.Record) error { return nil })
		if err != nil {
			return false
		}
		s.forgetUnseen(before, seen)
	}
	return true
}

// glance is the time between looks for new records: a millisecond for each that is known.
func (s *Store) glance() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.cfg.Glance, time.Duration(len(s.copies))*time.Millisecond)
}

// readNew reads what other brokers made. What fails is read by the next refresh.
func (s *Store) readNew(ctx context.Context) {
	for kind := range s.kinds {
		_ = s.Walk(ctx, kind, func(id string) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			_, known := s.copies[persistence.Key{Kind: kind, ID: id}]
			return !known
		}, func([]persistence.Record) error { return nil })
	}
}

// known copies what is remembered.
func (s *Store) known(which func(persistence.Key, remembered) bool) []persistence.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []persistence.Record
	for key, r := range s.copies {
		if which(key, r) {
			list = append(list, persistence.Record{Key: key, Version: r.version, Data: r.data})
		}
	}
	return list
}

// restore writes back all that is remembered and returns when that is done.
func (s *Store) restore(ctx context.Context) {
	all := s.known(func(persistence.Key, remembered) bool { return true })
	s.cfg.Logger.Error("The records in the store were deleted or replaced. This broker writes back what it remembers.", "keys-and-clients", len(all))
	s.cfg.Wiped()
	began, written := time.Now(), 0
	for _, step := range []struct {
		wait  time.Duration
		which func(persistence.Key, remembered) bool
	}{
		{0, func(key persistence.Key, r remembered) bool {
			return time.Since(r.wrote) < s.young() && key != s.cfg.Sentinel
		}},
		{s.cfg.Settle, func(key persistence.Key, r remembered) bool { return key != s.cfg.Sentinel }},
		{0, func(key persistence.Key, _ remembered) bool { return key == s.cfg.Sentinel }},
	} {
		if !pause(ctx, step.wait) {
			return
		}
		lost := s.known(func(key persistence.Key, r remembered) bool { return r.version == 0 && step.which(key, r) })
		n, ok := s.writeBack(ctx, lost)
		if !ok {
			return
		}
		written += n
	}
	s.mu.Lock()
	s.wiped = false
	s.loseMarks()
	s.sentinel = s.copies[s.cfg.Sentinel].version
	s.mu.Unlock()
	s.cfg.Logger.Warn("keys and clients are in the store again", "written-by-this-broker", written, "took", time.Since(began).Round(time.Millisecond))
}

// writeBack creates records that are absent; what is there is believed. It tries until
// the store takes them. False: ctx ended.
func (s *Store) writeBack(ctx context.Context, lost []persistence.Record) (written int, ok bool) {
	for len(lost) > 0 {
		n := min(batchSize, len(lost))
		ops := make([]persistence.Op, n)
		for i, r := range lost[:n] {
			ops[i].Record = persistence.Record{Key: r.Key, Data: r.Data}
		}
		var again []persistence.Record
		for i, result := range s.inner.Apply(ctx, ops) {
			switch {
			case result.Err == nil:
				s.adopt(lost[i], result.Version)
				written++
			case !errors.Is(result.Err, persistence.ErrConflict) || !s.compare(ctx, lost[i]):
				again = append(again, lost[i])
			}
		}
		lost = append(lost[n:], again...)
		wait := batchPause
		if len(again) > 0 {
			wait = s.cfg.Pulse
		}
		if len(lost) > 0 && !pause(ctx, wait) {
			return written, false
		}
	}
	return written, true
}

// compare takes note of a record that another broker was faster to write. Which version
// it has, and whether it is newer, the next refresh tells; but the sentinel is looked
// at, for there must not be two fleets on one store.
func (s *Store) compare(ctx context.Context, r persistence.Record) bool {
	if r.Key != s.cfg.Sentinel {
		s.adopt(r, 1)
		return true
	}
	there, err := s.inner.Load(ctx, r.Key)
	if err != nil {
		return false
	}
	if !bytes.Equal(there.Data, r.Data) {
		s.cfg.Logger.Error("The store holds other keys than this broker uses: somebody started a new fleet on it. "+
			"Stop one of the two; each refuses the other's tokens.", "key", r.Key.ID)
	}
	s.adopt(r, there.Version)
	return true
}

// adopt: the record is in the store again.
func (s *Store) adopt(r persistence.Record, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.copies[r.Key]; ok && known.version == 0 {
		known.version = version
		s.copies[r.Key] = known
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
