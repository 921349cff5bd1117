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

// goneTime is how long it is remembered what a member owned that left: who doubts its
// last answers asks at once.
const goneTime = time.Minute

// former is a view with a member that is in it no more.
type former struct {
	view  *membership.View
	since time.Time
}

// rememberGone keeps the view that says what a broker owned that is in it no more, and
// drops those that nobody asked for: most leave without a doubt.
func (n *Node) rememberGone(before, now *membership.View) {
	n.gone.Range(func(id, f any) bool {
		if time.Since(f.(former).since) > goneTime {
			n.gone.Delete(id)
		}
		return true
	})
	for _, m := range before.Members {
		if !now.Has(m.ID) {
			n.gone.Store(m.ID, former{before, time.Now()})
		}
	}
}

// settle calls complete and settled when the roster shows what the store holds of the
// sessions, and then also of the servers, that a broker owned; of a stranger, whatever
// the store holds.
func (n *Node) settle(memberID string, stranger bool, complete, settled func()) {
	found, ok := n.gone.LoadAndDelete(memberID)
	if !ok {
		complete()
		settled()
		return
	}
	view := found.(former).view
	n.settling.Go(func() {
		defer settled()
		began := time.Now()
		var late []string
		var errs error
		for _, kind := range []compared{n.comparedSessions(complete), n.comparedServers()} {
			kind.among = func(id string) bool { return stranger || owner(view, kind.grain, id) == memberID }
			differ, err := n.compareOwned(n.settleLife, kind)
			late, errs = append(late, differ...), errors.Join(errs, err)
			kind.known()
		}
		switch {
		case n.settleLife.Err() != nil:
		case errs != nil || len(late) > 0:
			n.log.Error("not all of what a broker owned that is gone is shown as it is stored", "broker", memberID, "objects", len(late), "error", errs)
		default:
			n.log.Info("the last answers of a broker that is gone are known", "broker", memberID, "took", time.Since(began).Round(time.Millisecond))
		}
	})
}

// compared is a kind of records and how to tell that readers see what is stored.
type compared struct {
	record, grain string
	among         func(id string) bool
	shows         func(persistence.Record) bool
	known         func() // called when they are, or nobody waits any longer
}

func (n *Node) comparedSessions(known func()) compared {
	return compared{record: actors.RecordSession, grain: messages.KindSession, shows: n.shows, known: known}
}

// comparedServers: whether one is open or closed was answered like anything else.
func (n *Node) comparedServers() compared {
	differs := n.servers().Differs
	return compared{record: actors.RecordServer, grain: messages.KindServer, known: func() {},
		shows: func(r persistence.Record) bool { return !differs(r) }}
}

// compareOwned waits until some objects are shown as they are stored, and returns those
// that are not in the end.
func (n *Node) compareOwned(ctx context.Context, kind compared) (late []string, err error) {
	for ctx.Err() == nil { // while the store does not answer nobody knows
		late, err = n.differing(ctx, kind)
		if err == nil {
			break
		}
		pause(ctx, settlePause)
	}
	var woken time.Time
	for end := time.Now().Add(settleTime); len(late) > 0 && ctx.Err() == nil && time.Now().Before(end); {
		if time.Since(woken) > settleWake {
			woken = time.Now()
			n.wakeOwn(kind, late)
		}
		pause(ctx, settleLook)
		late = n.still(ctx, kind, late)
	}
	return late, ctx.Err()
}

// wakeOwn has those of some objects that belong to this broker look at the store.
func (n *Node) wakeOwn(kind compared, ids []string) {
	view := n.fleet.View()
	for _, id := range ids {
		if owner(view, kind.grain, id) == n.fleet.Self().ID {
			n.fleet.Tell(kind.grain, id, &messages.Wake{Check: true}, nil)
		}
	}
}

// differing are the objects that are shown otherwise than they are stored.
func (n *Node) differing(ctx context.Context, kind compared) (ids []string, err error) {
	err = persistence.Walk(ctx, n.store, kind.record, kind.among, func(page []persistence.Record) error {
		for _, r := range page {
			if !kind.shows(r) {
				ids = append(ids, r.Key.ID)
			}
		}
		return nil
	})
	return ids, err
}

// still are those of some objects that differ at another look.
func (n *Node) still(ctx context.Context, kind compared, ids []string) (differ []string) {
	for _, id := range ids {
		r, err := n.store.Load(ctx, persistence.Key{Kind: kind.record, ID: id})
		if err == nil && !kind.shows(r) || err != nil && !errors.Is(err, persistence.ErrNotFound) {
			differ = append(differ, id)
		}
	}
	return differ
}

// shows says whether readers see what is stored of a session. A record that cannot be
// read is not for this to mend.
func (n *Node) shows(r persistence.Record) bool {
	var record messages.SessionRecord
	if err := proto.Unmarshal(r.Data, &record); err != nil {
		return true
	}
	stored := session.FromRecord(&record)
	shown, ok := n.deps.Roster.Snapshot().Session(r.Key.ID)
	return ok != (stored.State == session.Buried) && (!ok || stored.ShownBy(shown.View))
}
