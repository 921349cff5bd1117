package oauth_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
)

// swapped is a store whose data can be exchanged under the brokers. Versions go on
// rising, as those of Consul do.
type swapped struct {
	persistence.Store
	mu    sync.Mutex
	loads atomic.Int64
}

func (s *swapped) Load(ctx context.Context, key persistence.Key) (persistence.Record, error) {
	s.loads.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.Load(ctx, key)
}

// swap replaces the records, in place, so that versions rise.
func (s *swapped) swap(backup persistence.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background()
	for _, kind := range []string{"authorization", "key", "api-client"} {
		olds, _ := s.Store.Scan(ctx, kind, "", 1000)
		for _, old := range olds {
			saved, err := backup.Load(ctx, old.Key)
			if err != nil {
				_ = s.Delete(ctx, old.Key, old.Version)
				continue
			}
			saved.Version = old.Version
			_, _ = s.Save(ctx, saved)
		}
	}
}

func awaitTrue(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, time.Millisecond, "waited in vain for %s", what)
}
