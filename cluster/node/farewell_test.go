package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors"
	"opensessionmanager/cluster/membership"
	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// interrupted is a store at whose second list of sessions the broker is told to stop.
type interrupted struct {
	persistence.Store
	lists atomic.Int64
	stop  context.CancelFunc
}

func (i *interrupted) Scan(ctx context.Context, kind, after string, limit int) ([]persistence.Record, error) {
	if kind == actors.RecordSession && i.lists.Add(1) == 2 {
		i.stop()
		return nil, context.Canceled
	}
	return i.Store.Scan(ctx, kind, after, limit)
}

// A broker that is stopped while it starts, and is a member by then, says farewell: the
// others need not find out.
func TestNode_SaysFarewellWhenItsStartIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := &interrupted{Store: memory.New(), stop: cancel}
	data, err := proto.Marshal(&messages.SessionRecord{Id: "s-1"})
	require.NoError(t, err)
	_, err = store.Save(ctx, persistence.Record{Key: persistence.Key{Kind: actors.RecordSession, ID: "s-1"}, Data: data})
	require.NoError(t, err)

	registry := membership.NewMemory(time.Second)
	opt := options(t, t.TempDir())
	opt.Store, opt.Source = store, membership.New(registry.Connect(), membership.Options{TTL: time.Second})
	opt.Config.Fleet.BindHost, opt.Config.Fleet.Port = "127.0.0.1", 0
	_, err = Start(ctx, opt)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 2, store.lists.Load(), "it was a member")
	fleet, _, err := registry.Connect().Fleet(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, fleet.Left, 1)
}
