package oauth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"opensessionmanager/persistence"
)

// fullRefresh is how long at most nothing but the epoch is looked at: then a change
// is found even if whoever made it died before the epoch was raised.
const fullRefresh = 10 * time.Second

const (
	// changedEvery is after how many intervals Changed is called although nothing is
	// known to have changed: a broker that unregistered an agent may have died before it
	// raised the epoch.
	changedEvery = 120
	// changedTime bounds one call of Changed, which looks at the records of all agents
	// that are connected.
	changedTime = 30 * time.Second
)

// Run adopts what administrators changed at other brokers, of API clients, keys and
// authorization servers, until ctx ends. Every interval it reads one small record,
// so half a second keeps the promise of a second. It also has the keys of external
// servers fetched anew.
func (s *Server) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	f := follower{s: s, looked: time.Now(), news: make(chan struct{}, 1)}
	var telling sync.WaitGroup
	defer telling.Wait()
	if s.cfg.Changed != nil {
		telling.Go(func() { s.tell(ctx, interval, f.news) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.servers.fetchDue()
		bounded, cancel := context.WithTimeout(ctx, max(interval, storeWait))
		err := f.follow(bounded)
		cancel()
		f.report(ctx, err)
	}
}

// follower is what Run remembers between two looks.
type follower struct {
	s       *Server
	seen    int64     // epoch
	looked  time.Time // at everything
	failing bool
	news    chan struct{} // holds one: something changed
}

func (f *follower) follow(ctx context.Context) error {
	now, err := f.s.epoch.read(ctx)
	if err != nil {
		return err
	}
	if now == f.seen && time.Since(f.looked) < fullRefresh {
		return nil
	}
	if now == 0 && f.seen > 0 {
		_, err := f.s.cfg.Store.Load(ctx, RootKey())
		if errors.Is(err, persistence.ErrNotFound) { // somebody emptied the store; nothing old came back with that
			return f.s.epoch.raise(ctx, f.seen)
		} else if err != nil {
			return err
		}
	}
	if err := f.s.checkEpoch(ctx, f.seen, now); err != nil {
		return err
	}
	began := time.Now()
	err = errors.Join(f.s.clients.Refresh(ctx), f.s.cfg.Keys.Refresh(ctx), f.s.servers.refresh(ctx))
	if err != nil {
		return err
	}
	if now != f.seen {
		select {
		case f.news <- struct{}{}:
		default:
		}
	}
	f.seen, f.looked = now, began
	return nil
}

// tell calls Changed after news until it succeeds, and once more, and now and then
// without any. It runs beside follow, which must not wait for it. Between attempts that
// fail it leaves the store alone for as long as the last one took.
func (s *Server) tell(ctx context.Context, interval time.Duration, news <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	left, due := 0, time.Now().Add(changedEvery*interval)
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-news:
			left, due = 2, time.Now()
		case <-ticker.C:
		}
		began := time.Now()
		if began.Before(due) {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, changedTime)
		err := s.cfg.Changed(bounded)
		cancel()
		if err != nil {
			due = time.Now().Add(time.Since(began))
		} else if left = max(left-1, 0); left == 0 {
			due = time.Now().Add(changedEvery * interval)
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.cfg.Logger.Warn("what administrators changed cannot be acted on, trying on", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// report says once that it fails.
func (f *follower) report(ctx context.Context, err error) {
	if err != nil && !f.failing && ctx.Err() == nil {
		f.s.cfg.Logger.Warn("changes of clients, keys and authorization servers cannot be read, trying on", slog.Any("error", err))
	}
	f.failing = err != nil
}

// checkEpoch compares the highest epoch that was ever seen with that of the store. A
// store that has fallen behind was put back from a backup: what was revoked since may
// be there again, keys that were replaced too. So all tokens that exist are made
// worthless, those to enrol with too; clients get new ones by themselves (F52).
func (s *Server) checkEpoch(ctx context.Context, highest, now int64) error {
	if now >= highest {
		if now > highest {
			s.remember(now)
		}
		return nil
	}
	if err := s.cfg.Keys.Renew(ctx, s.cfg.Now(), s.cfg.ConnectionTokenLifetime, true); err != nil {
		return err
	}
	if err := s.enrolments.revokeAll(ctx); err != nil {
		return err
	}
	if err := s.epoch.raise(ctx, highest); err != nil {
		return err
	}
	s.cfg.Logger.Error("the store is older than it was: all tokens are revoked, clients must get new ones; "+
		"clients, agents and authorization servers that were unregistered since the backup have to be unregistered again",
		slog.Int64("epoch", now), slog.Int64("epoch-seen", highest))
	s.remember(highest + 1)
	if s.cfg.Restored != nil {
		s.cfg.Restored()
	}
	return nil
}

func (s *Server) remember(number int64) {
	if err := s.epoch.remember(number); err != nil {
		s.cfg.Logger.Warn("a restored backup may go unnoticed", slog.Any("error", err))
	}
}
