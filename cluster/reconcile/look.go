package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// wakePage is how many grains are woken before the store is given time for them.
const wakePage = 200

// found counts what was not as it should be.
type found struct{ hidden, differing, missing int }

// look compares everything once.
func (a *Auditor) look(ctx context.Context, why string) error {
	began := time.Now()
	for _, kind := range a.cfg.Kinds {
		seen, err := a.compare(ctx, kind)
		if err != nil {
			return err
		}
		if seen != (found{}) {
			a.cfg.Logger.Warn("the store and the roster differed; the grains concerned were woken", "kind", kind.Record, "because", why,
				"not-shown", seen.hidden, "shown-otherwise", seen.differing, "not-stored", seen.missing,
				"took", time.Since(began).Round(time.Millisecond))
		}
	}
	return nil
}

// compare looks at one kind: what is stored and not shown, or shown otherwise, and what
// is shown and not stored.
func (a *Auditor) compare(ctx context.Context, kind Kind) (seen found, err error) {
	if err := a.caughtUp(ctx); err != nil {
		return seen, err
	}
	// The roster first: what comes between the two looks is stored and not in shown,
	// and waking it once too often does no harm.
	shown := map[string]bool{}
	for _, id := range kind.Shown() {
		if a.cfg.Mine(kind.Grain, id) {
			shown[id] = false
		}
	}
	var hidden []string
	err = persistence.Walk(ctx, a.cfg.Store, kind.Record, func(id string) bool {
		if !a.cfg.Mine(kind.Grain, id) {
			return false
		}
		if _, ok := shown[id]; !ok {
			hidden = append(hidden, id)
			return false
		}
		shown[id] = true
		return true
	}, func(page []persistence.Record) error {
		began := time.Now()
		if err := a.show(ctx, kind, &hidden, &seen); err != nil {
			return err
		}
		differing, err := a.differing(ctx, kind, page)
		if err != nil {
			return err
		}
		seen.differing += len(differing)
		if err := a.wake(ctx, kind, differing); err != nil {
			return err
		}
		return a.pause(ctx, time.Since(began))
	})
	if err != nil {
		return seen, err
	}
	if err := a.show(ctx, kind, &hidden, &seen); err != nil {
		return seen, err
	}
	var missing []string
	for id, stored := range shown {
		if !stored && kind.Shows(id) {
			missing = append(missing, id)
		}
	}
	seen.missing = len(missing)
	return seen, a.wake(ctx, kind, missing)
}

// show wakes what is stored and still not shown: what was just made is by now.
func (a *Auditor) show(ctx context.Context, kind Kind, hidden *[]string, seen *found) error {
	ids := slices.DeleteFunc(*hidden, kind.Shows)
	*hidden = nil
	seen.hidden += len(ids)
	return a.wake(ctx, kind, ids)
}

// differing are the records that are shown otherwise, also at a second look: what
// changes at the moment is read before its change and shown after it, or the reverse.
func (a *Auditor) differing(ctx context.Context, kind Kind, page []persistence.Record) ([]string, error) {
	var ids []string
	for _, r := range page {
		if kind.Differs(r) {
			ids = append(ids, r.Key.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if err := a.pause(ctx, 0); err != nil {
		return nil, err
	}
	var still []string
	for _, id := range ids {
		r, err := a.cfg.Store.Load(ctx, persistence.Key{Kind: kind.Record, ID: id})
		switch {
		case errors.Is(err, persistence.ErrNotFound):
		case err != nil:
			return nil, err
		case kind.Differs(r):
			still = append(still, id)
		}
	}
	return still, nil
}

// caughtUp waits until this broker's roster is complete: before that nearly everything
// would seem to be hidden.
func (a *Auditor) caughtUp(ctx context.Context) error {
	for a.cfg.Behind() != nil {
		if err := a.pause(ctx, a.cfg.Pause); err != nil {
			return err
		}
	}
	return nil
}

// wake has grains look at the store, not more at once than that can take.
func (a *Auditor) wake(ctx context.Context, kind Kind, ids []string) error {
	for len(ids) > 0 {
		n := min(wakePage, len(ids))
		for _, id := range ids[:n] {
			a.cfg.Tell(kind.Grain, id, &messages.Wake{Check: true})
		}
		ids = ids[n:]
		if err := a.pause(ctx, 0); err != nil {
			return err
		}
		if err := a.cfg.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause leaves the store to others for as long as the last page took, at least.
func (a *Auditor) pause(ctx context.Context, took time.Duration) error {
	timer := time.NewTimer(max(took, a.cfg.Pause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
