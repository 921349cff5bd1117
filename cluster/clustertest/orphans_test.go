//go:build fleet && !race

package clustertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
)

// Promises 3 and 6: what a broker had saved when it died, and could tell nobody, is shown
// by the others soon after its death, and comes to an end: creates become READY, deletes
// DELETED. So does what was then still on its way to the store.
func TestFleet_ShowsWhatADeadBrokerHadSaved(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	stay, victim := f.brokers[:2], f.brokers[2]
	for i := range 3 {
		f.host(fmt.Sprintf("host-%d", i), roomy, stay...)
	}
	f.awaitServers(3, f.brokers...)
	var doomed []session
	for i := range 24 { // of all owners
		s := stay[0].api.create(fmt.Sprintf("doomed-%d", i))
		doomed = append(doomed, stay[1].api.awaitState(s.ID, "READY"))
	}
	ends := f.orphans(doomed[:12])
	victim.stop()
	f.awaitEnds(ends, stay)
	ends = f.orphans(doomed[12:])
	f.awaitEnds(ends, stay)
}

// orphans saves as a broker does that is killed right after that: new sessions, and the
// deletion of others. It returns the states in which they have to end.
func (f *fleet) orphans(doomed []session) map[string]string {
	f.t.Helper()
	ends := map[string]string{}
	now := time.Now()
	for i, s := range doomed {
		key := persistence.Key{Kind: actors.RecordSession, ID: s.ID}
		old, err := f.store.Load(f.t.Context(), key)
		require.NoError(f.t, err)
		deleting := &messages.SessionRecord{}
		require.NoError(f.t, proto.Unmarshal(old.Data, deleting))
		fresh := proto.CloneOf(deleting)
		deleting.State, deleting.DeleteAsked, deleting.DeadlineUnixMs = "deleting", true, now.Add(2*time.Minute).UnixMilli()
		ends[s.ID] = "DELETED"
		f.save(deleting, old.Version)

		fresh.Id = uuid.NewString()
		fresh.DcvId, fresh.Spec.Owner, fresh.CreatedUnixMs = fresh.Id, fmt.Sprintf("orphan-%d", i), now.UnixMilli()
		fresh.DeadlineUnixMs = now.Add(90 * time.Second).UnixMilli()
		fresh.State, fresh.RequestDigest = "placed", nil
		if i%2 == 0 {
			fresh.State, fresh.ServerId, fresh.Spec.EnqueueRequest = "queued", "", true
		}
		ends[fresh.Id] = "READY"
		f.save(fresh, 0)
	}
	return ends
}

func (f *fleet) save(s *messages.SessionRecord, version int64) {
	f.t.Helper()
	data, err := proto.Marshal(s)
	require.NoError(f.t, err)
	_, err = f.store.Save(f.t.Context(), persistence.Record{Key: persistence.Key{Kind: actors.RecordSession, ID: s.GetId()}, Version: version, Data: data})
	require.NoError(f.t, err)
}

func (f *fleet) awaitEnds(ends map[string]string, brokers []*broker) {
	f.t.Helper()
	began := time.Now()
	for _, b := range brokers {
		await(f.t, "the orphans at broker "+b.name, func() error {
			all, err := b.api.sessions()
			if err != nil {
				return err
			}
			var wrong []error
			for id, end := range ends {
				if s, ok := all[id]; !ok || s.State != end {
					wrong = append(wrong, fmt.Errorf("%s is %q instead of %s", id, s.State, end))
				}
			}
			return errors.Join(wrong...)
		})
	}
	f.t.Logf("all have ended after %v", time.Since(began).Round(time.Millisecond))
}
