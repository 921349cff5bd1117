package node

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/actors/session"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// This file finds out what a broker that is gone had answered last, while nobody may be
// told that a session is absent.

const (
	// settleTime is how long the new owners have to show what the store holds. What is not
	// shown by then is in the log; refusing every list for longer would help nobody.
	settleTime  = 10 * time.Second
	settleLook  = 25 * time.Millisecond
	settleWake  = time.Second            // between attempts to wake who is to show them
	settlePause = 200 * time.Millisecond // between attempts to read the store
)

// prepareSettling lets settle work until the broker stops.
func (n *Node) prepareSettling() {
	var end context.CancelFunc
	n.settleLife, end = context.WithCancel(n.base)
	n.onStop(func(context.Context) error { end(); n.settling.Wait(); return nil })
}

// rememberGone keeps the view that says what a broker owned that is in it no more.
func (n *Node) rememberGone(before, now *membership.View) {
	for _, m := range before.Members {
		if !now.Has(m.ID) {
			n.gone.Store(m.ID, before)
		}
	}
}

// settle calls settled when the roster shows what the store holds of a broker's sessions.
func (n *Node) settle(memberID string, settled func()) {
	found, ok := n.gone.LoadAndDelete(memberID)
	if !ok {
		settled()
		return
	}
	n.settling.Go(func() {
		defer settled()
		began := time.Now()
		late, err := n.compareOwned(n.settleLife, found.(*membership.View), memberID)
		switch {
		case n.settleLife.Err() != nil:
		case err != nil || len(late) > 0:
			n.log.Error("not all of what a broker owned that is gone is shown as it is stored", "broker", memberID, "sessions", len(late), "error", err)
		default:
			n.log.Info("the last answers of a broker that is gone are known", "broker", memberID, "took", time.Since(began).Round(time.Millisecond))
		}
	})
}

// compareOwned waits until what a member owned in a view is shown as it is stored, and
// returns what is not in time.
func (n *Node) compareOwned(ctx context.Context, view *membership.View, memberID string) (late []string, err error) {
	for ctx.Err() == nil { // while the store does not answer nobody knows
		late, err = n.differing(ctx, func(id string) bool { return owner(view, messages.KindSession, id) == memberID })
		if err == nil {
			break
		}
		pause(ctx, settlePause)
	}
	var woken time.Time
	for end := time.Now().Add(settleTime); len(late) > 0 && ctx.Err() == nil && time.Now().Before(end); {
		if time.Since(woken) > settleWake {
			woken = time.Now()
			n.wakeOwn(late)
		}
		pause(ctx, settleLook)
		late = n.still(ctx, late)
	}
	return late, ctx.Err()
}

// wakeOwn has those of some sessions that belong to this broker look at the store.
func (n *Node) wakeOwn(ids []string) {
	view := n.fleet.View()
	for _, id := range ids {
		if owner(view, messages.KindSession, id) == n.fleet.Self().ID {
			n.fleet.Tell(messages.KindSession, id, &messages.Wake{Check: true}, nil)
		}
	}
}

// differing are the sessions among some that are shown otherwise than they are stored.
func (n *Node) differing(ctx context.Context, among func(id string) bool) (ids []string, err error) {
	err = persistence.Walk(ctx, n.store, actors.RecordSession, among, func(page []persistence.Record) error {
		for _, r := range page {
			if !n.shows(r) {
				ids = append(ids, r.Key.ID)
			}
		}
		return nil
	})
	return ids, err
}

// still are those of some sessions that differ at another look.
func (n *Node) still(ctx context.Context, ids []string) (differ []string) {
	for _, id := range ids {
		r, err := n.store.Load(ctx, persistence.Key{Kind: actors.RecordSession, ID: id})
		if err == nil && !n.shows(r) || err != nil && !errors.Is(err, persistence.ErrNotFound) {
			differ = append(differ, id)
		}
	}
	return differ
}

// shows says whether readers see what is stored. A record that cannot be read is not
// for this to mend.
func (n *Node) shows(r persistence.Record) bool {
	var record messages.SessionRecord
	if err := proto.Unmarshal(r.Data, &record); err != nil {
		return true
	}
	shown, ok := n.deps.Roster.Snapshot().Session(r.Key.ID)
	return ok && session.FromRecord(&record).ShownBy(shown.View)
}
