//go:build fleet && !race

package clustertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// mute is a store that saves, and while it is told to does not say so: what its broker
// saves then is never published. That is kill -9 between the save and its answer.
type mute struct {
	persistence.Store
	on      atomic.Bool
	release chan struct{}

	mu    sync.Mutex
	saved map[string]bool // sessions whose save was never answered
}

func (m *mute) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	results := m.Store.Apply(ctx, ops)
	if !m.on.Load() {
		return results
	}
	m.mu.Lock()
	for i, op := range ops {
		if op.Record.Key.Kind == actors.RecordSession && results[i].Err == nil {
			m.saved[op.Record.Key.ID] = true
		}
	}
	m.mu.Unlock()
	<-m.release
	for i := range results {
		results[i] = persistence.Result{Err: persistence.ErrUncertain}
	}
	return results
}

func (m *mute) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.saved)
}

// Promises 3 and 6: what a broker saved and could tell nobody is shown by the others
// soon after its death, and comes to an end: creates become READY, deletes DELETED.
func TestFleet_ShowsWhatADeadBrokerHadSaved(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	stay := f.brokers[:2]
	silent := &mute{Store: f.store, release: make(chan struct{}), saved: map[string]bool{}}
	victim := f.addOver(silent)
	for i := range 3 {
		f.host(fmt.Sprintf("host-%d", i), roomy, stay...)
	}
	f.awaitServers(3, f.brokers...)
	var doomed []session
	for i := range 12 { // some belong to the victim
		doomed = append(doomed, stay[0].api.create(fmt.Sprintf("doomed-%d", i)))
	}
	for _, s := range doomed {
		stay[1].api.awaitState(s.ID, "READY")
	}
	silent.on.Store(true)
	impatient, giveUp := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { _ = victim.api.try(impatient, "/createSessions", list{virtual(fmt.Sprintf("user-%d", i))}) })
		clients.Go(func() {
			_ = victim.api.try(impatient, "/deleteSessions", list{object{"SessionId": doomed[i].ID, "Owner": doomed[i].Owner}})
		})
	}
	await(t, "saves that are not answered", func() error {
		if silent.count() == 0 {
			return errors.New("none")
		}
		return nil
	})
	giveUp()
	clients.Wait()
	stopped := make(chan struct{})
	go func() { defer close(stopped); victim.stop() }()
	for _, b := range stay {
		await(t, "the orphans at broker "+b.name, func() error { return f.compare(b, silent) })
	}
	close(silent.release)
	<-stopped
	for _, b := range stay {
		await(t, "the orphans at broker "+b.name, func() error { return f.compare(b, silent) })
	}
	t.Logf("%d saves were not answered", silent.count())
}

// compare holds the sessions that a broker shows against the store, and says whether
// those whose saves were not answered have come to their end.
func (f *fleet) compare(b *broker, silent *mute) error {
	shown, err := b.api.sessions()
	if err != nil {
		return err
	}
	var wrong []error
	require.NoError(f.t, persistence.Walk(f.t.Context(), f.store, actors.RecordSession, nil, func(page []persistence.Record) error {
		for _, r := range page {
			var stored messages.SessionRecord
			require.NoError(f.t, proto.Unmarshal(r.Data, &stored))
			seen, ok := shown[r.Key.ID]
			delete(shown, r.Key.ID)
			silent.mu.Lock()
			orphan := silent.saved[r.Key.ID]
			silent.mu.Unlock()
			switch {
			case !ok:
				wrong = append(wrong, fmt.Errorf("%s, stored as %s, is hidden", r.Key.ID, stored.GetState()))
			case seen.State == "CREATING" || seen.State == "DELETING":
				wrong = append(wrong, fmt.Errorf("%s is still %s", r.Key.ID, seen.State))
			case orphan && stored.GetDeleteAsked() && seen.State != "DELETED":
				wrong = append(wrong, fmt.Errorf("%s, whose deletion was asked, is %s", r.Key.ID, seen.State))
			}
		}
		return nil
	}))
	for id := range shown {
		wrong = append(wrong, fmt.Errorf("%s is shown and not stored", id))
	}
	return errors.Join(wrong...)
}
