package node

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/actors/roster"
	"opensessionmanager/actors/session"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/reconcile"
	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/http/oauth"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/mirror"
)

// This file is what keeps the records of several brokers whole: what one of them saved
// and could not show, and what somebody deleted under them.

// Times of a start on an empty store.
const (
	// aloneAfter is how long nobody may be listed until this is the first broker: longer
	// than a living one needs to list itself anew in a registry that lost everything.
	aloneAfter = 2 * time.Second
	// rememberTime is how long it waits for the others to write back what they remember.
	rememberTime = 30 * time.Second
	lookEvery    = 100 * time.Millisecond
)

// meet prepares for other brokers, if there can be any.
func (n *Node) meet(ctx context.Context) (err error) {
	if n.company, err = n.source(); err != nil || n.company == nil {
		return err
	}
	if n.replica != nil {
		return nil // nobody can delete what each broker has a copy of
	}
	n.mirror = mirror.New(n.store, mirror.Config{Kinds: append(oauth.Kinds(), dnsmapping.Kind), Sentinel: oauth.RootKey(), Logger: n.log,
		Wiped: func() { n.auditor.Look("the store lost its records") },
		Back:  func() { n.auditor.Look("the store was away") }})
	return n.awaitMemory(ctx)
}

// lister is a source that knows who is there before this broker has joined.
type lister interface {
	Listed(context.Context) ([]membership.Entry, error)
}

// awaitMemory waits while the store is empty although other brokers run: somebody
// deleted its records, and those brokers write them back, the root key last. To make
// new keys beside them would split the fleet in two that refuse each other's tokens.
func (n *Node) awaitMemory(ctx context.Context) error {
	company, ok := n.company.(lister)
	began, told := time.Now(), false
	for ok {
		_, err := n.store.Load(ctx, oauth.RootKey())
		if !errors.Is(err, persistence.ErrNotFound) {
			return err
		}
		others, err := company.Listed(ctx)
		switch waited := time.Since(began); {
		case err != nil && waited < rememberTime:
		case len(others) == 0 && waited >= aloneAfter:
			return nil // the first broker of a fleet
		case waited >= rememberTime:
			n.log.Error("The store is empty, and other brokers, which run, have not written back what they remember. This broker "+
				"goes on with new keys: tokens and clients of before are worthless here.", "waited", waited.Round(time.Second), "brokers", len(others))
			return nil
		case len(others) > 0 && !told:
			told = true
			n.log.Warn("the store was wiped: waiting for the brokers that remember", "brokers", len(others), "at-most", rememberTime)
		}
		pause := time.NewTimer(lookEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// records is the store as those see it who keep keys and clients there.
func (n *Node) records() persistence.Store {
	if n.mirror != nil {
		return n.mirror
	}
	return n.store
}

// openAuditor prepares the comparison of the store with the roster.
func (n *Node) openAuditor() {
	if n.company == nil {
		return
	}
	cfg := reconcile.Config{Store: n.store, Logger: n.log, Drain: n.drain,
		Kinds: []reconcile.Kind{n.servers(), n.sessions()}, // sessions refer to servers
		Mine: func(kind, id string) bool {
			owner, _ := n.fleet.View().Owner(kind, id)
			return owner.ID == n.fleet.Self().ID
		},
		Behind: func() error { return picture{n.deps.Roster, n}.Behind() },
		Tell:   func(kind, id string, m *messages.Wake) { n.fleet.Tell(kind, id, m, nil) }}
	if n.opt.Audit != nil {
		n.opt.Audit(&cfg)
	}
	n.auditor = reconcile.New(cfg)
}

// watchRecords begins to look, once the roster is complete.
func (n *Node) watchRecords() {
	if n.company != nil {
		n.background(n.auditor.Run)
	}
	if n.mirror != nil {
		n.background(n.mirror.Run)
	}
}

// lookAgain compares the store that was put back from a backup with what is shown; before
// everything is loaded nothing is.
func (n *Node) lookAgain() {
	if n.caughtUp.Load() && n.auditor != nil {
		n.auditor.Look("the store was put back from a backup")
	}
}

// fewWrites is how many writes may wait when grains are asked for more.
const fewWrites = 200

// drain waits until the store has begun the loads, and done all but a few of the writes,
// that grains asked of it before.
func (n *Node) drain(ctx context.Context) error {
	done := make(chan struct{})
	n.committer.Load(persistence.Key{Kind: "probe", ID: "drain"}, func(persistence.Record, error) { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for writes, _ := n.committer.Queued(); writes > fewWrites; writes, _ = n.committer.Queued() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *Node) sessions() reconcile.Kind {
	return reconcile.Kind{Record: actors.RecordSession, Grain: messages.KindSession, Shown: n.shownSessions,
		Shows: func(id string) bool { _, ok := n.deps.Roster.Snapshot().Session(id); return ok },
		Differs: func(r persistence.Record) bool {
			var record messages.SessionRecord
			if err := proto.Unmarshal(r.Data, &record); err != nil {
				n.log.Error("a record in the store cannot be read", "session", r.Key.ID, "error", err)
				return false
			}
			stored := session.FromRecord(&record)
			shown, ok := n.deps.Roster.Snapshot().Session(r.Key.ID)
			return ok == (stored.State == session.Buried) || ok && !stored.ShownBy(shown.View) || !stored.Deadline.IsZero() && time.Since(stored.Deadline) > overdueTime
		}}
}

// overdueTime is how long after its deadline a session counts as forgotten by its grain.
const overdueTime = 30 * time.Second

func (n *Node) shownSessions() (ids []string) {
	snapshot := n.deps.Roster.Snapshot()
	for page := snapshot.Sessions(roster.SessionQuery{Limit: scanPage}); ; page = snapshot.Sessions(roster.SessionQuery{Limit: scanPage, After: page.Next}) {
		for _, s := range page.Sessions {
			ids = append(ids, s.View.GetId())
		}
		if !page.More {
			return ids
		}
	}
}

func (n *Node) servers() reconcile.Kind {
	return reconcile.Kind{Record: actors.RecordServer, Grain: messages.KindServer,
		Shown: func() (ids []string) {
			for _, s := range n.deps.Roster.Snapshot().Servers(roster.ServerCursor{}, 0).Servers {
				ids = append(ids, s.View.GetId())
			}
			return ids
		},
		Shows: func(id string) bool { _, ok := n.deps.Roster.Snapshot().Server(id); return ok },
		Differs: func(r persistence.Record) bool {
			var record messages.ServerRecord
			if err := proto.Unmarshal(r.Data, &record); err != nil {
				n.log.Error("a record in the store cannot be read", "server", r.Key.ID, "error", err)
				return false
			}
			shown, ok := n.deps.Roster.Snapshot().Server(r.Key.ID)
			return !ok || shown.View.GetClosed() != record.GetClosed() || shown.View.GetMachineId() != record.GetMachineId()
		}}
}
