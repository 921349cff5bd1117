package membership

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// read takes an answer about the document that was asked for at the given time.
func (k *Keeper) read(place Stored, asked time.Time) error {
	var d *document
	var err error
	if place.Document != nil {
		if d, err = decode(place.Document, k.opt.Protocol); err != nil {
			k.meet(k.outgrown(d), d)
			return k.unreadable(place, err)
		}
	}
	shown, fate := k.judge(d)
	if shown != nil {
		k.board.Show(shown)
	}
	k.take(place, d, shown != nil, asked)
	k.meet(fate, d)
	return nil
}

// meet lets those know who wait for a fate.
func (k *Keeper) meet(f fate, d *document) {
	switch f {
	case nowJoined:
		k.log.Info("joined the fleet", "epoch", d.Epoch, "members", len(d.Members))
		k.decided()
	case nowRemoved:
		k.log.Error("the others removed this broker from the fleet: it must join again under a new identity", "epoch", d.Epoch)
		close(k.removed)
		k.end()
	case nowParted:
		close(k.parted)
	case nowRefused:
		k.decided()
	}
}

// outgrown says what a later version's document, known in outline, means: a fleet that
// speaks it goes on without this broker.
func (k *Keeper) outgrown(d *document) fate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d == nil || k.held == nil || d.Epoch <= k.held.Epoch || d.has(k.self.ID) {
		return unchanged
	}
	return k.without()
}

// without enters the phase of a broker that is no longer in the view.
func (k *Keeper) without() fate {
	k.confirmed.Store(nil)
	switch k.phase {
	case member:
		k.phase = expelled
		return nowRemoved
	case leaving:
		k.phase = over
		return nowParted
	}
	return unchanged
}

// fate is what a document means to this broker.
type fate int

const (
	unchanged fate = iota
	nowJoined
	nowRemoved
	nowParted
	nowRefused
)

// judge says what a new document means to this broker, enters the phase that follows,
// and returns the view to show, nil for none.
func (k *Keeper) judge(d *document) (*View, fate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d == nil || lost(d, k.held) || k.held != nil && d.Epoch == k.held.Epoch {
		return nil, unchanged
	}
	in := d.has(k.self.ID)
	switch k.phase {
	case joining:
		if d.removed(k.self.ID) {
			return nil, k.refuse(ErrRemoved)
		}
		if in {
			return d.view(), nowJoined // a member once this view is the held one
		}
		return nil, unchanged
	case member, leaving:
		if !in {
			return d.view(), k.without()
		}
		return d.view(), unchanged
	}
	return nil, unchanged
}

// refuse makes Join fail.
func (k *Keeper) refuse(why error) fate {
	if k.phase != joining {
		return unchanged
	}
	k.phase, k.failure = over, why
	return nowRefused
}

// take makes a document the stored one, and the held one if its view was shown: only
// now, so that the time until the next removal begins after everybody here saw this one.
func (k *Keeper) take(place Stored, d *document, shown bool, asked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.opt.Now()
	if !k.asked || place.Version != k.version {
		k.quiet = time.Time{} // whoever was faster, the next proposal has a new base
	}
	k.asked, k.garbled, k.version, k.stored, k.left = true, false, place.Version, d, marks(place.Left)
	switch {
	case d != nil:
		k.missing = time.Time{}
	case k.missing.IsZero():
		k.missing = now
		if k.held != nil {
			k.log.Error("the fleet's view is gone from the registry: writing it anew", "epoch", k.held.Epoch)
		}
	}
	if shown {
		k.tell(d)
		k.adopt(d, now)
		k.missed(now)
		k.crowded(now)
		switch {
		case k.phase == joining:
			k.phase = member
		case k.phase == over && d.has(k.self.ID):
			k.work.Go(k.excuse) // Join has failed since the view was judged
		}
	}
	if k.phase == member && d != nil && k.held != nil && d.Epoch == k.held.Epoch && !lost(d, k.held) {
		k.confirmed.Store(&asked)
	}
	k.look()
}

// excuse tells the others that this broker, which the view holds, is none of them: they
// would have to find out.
func (k *Keeper) excuse() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.life), k.opt.callTimeout())
	defer cancel()
	if err := k.registry.MarkLeft(ctx, k.self.ID); err != nil {
		k.log.Warn("the fleet could not be told that this broker did not join; the others will find out", "error", err)
	}
}

// tell logs what a view changed.
func (k *Keeper) tell(d *document) {
	if k.held == nil {
		return
	}
	var added, removed []string
	for _, m := range d.Members {
		if !k.held.has(m.ID) {
			added = append(added, m.ID)
		}
	}
	for _, m := range k.held.Members {
		if !d.has(m.ID) {
			removed = append(removed, m.ID)
		}
	}
	k.log.Info("the fleet changed", "epoch", d.Epoch, "members", len(d.Members), "added", added, "removed", removed)
}

// unreadable refuses a document that is not ours: a broker that wants to join gives
// up, a member keeps its view, and nobody overwrites what it does not understand.
func (k *Keeper) unreadable(place Stored, why error) error {
	hint := "" // what a later version wrote is not nobody's
	if errors.Is(why, ErrForeign) {
		hint = "; if it is nobody's, delete it and the members write it anew"
	}
	why = fmt.Errorf("%w (%s%s)", why, k.registry.Place(), hint)
	k.mu.Lock()
	k.asked, k.garbled, k.version, k.stored, k.missing = true, true, place.Version, nil, time.Time{}
	fate := k.refuse(why)
	k.mu.Unlock()
	k.meet(fate, nil)
	return why
}
