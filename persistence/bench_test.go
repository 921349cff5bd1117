package persistence_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/embedded"
	"opensessionmanager/persistence/memory"
)

// record700 has the size of a session's record.
func record700(id string) persistence.Record {
	return thing(id, 0, string(make([]byte, 700)))
}

// The store alone, one record per call: what the committer's numbers compare with.
func BenchmarkSave_Direct(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkDirect(b, memory.New()) })
	b.Run("embedded", func(b *testing.B) { benchmarkDirect(b, openEmbedded(b)) })
}

func benchmarkDirect(b *testing.B, s persistence.Store) {
	var n int
	for b.Loop() {
		n++
		_, err := s.Save(b.Context(), record700(strconv.Itoa(n)))
		require.NoError(b, err)
	}
}

// Through the committer, with as many callers waiting as the name says: from a lone
// write to a burst of creates.
func BenchmarkSave_Committer(b *testing.B) {
	for _, callers := range []int{1, 16, 256, 4096} {
		b.Run("memory/"+strconv.Itoa(callers), func(b *testing.B) { benchmarkCommitter(b, memory.New(), callers) })
		b.Run("embedded/"+strconv.Itoa(callers), func(b *testing.B) { benchmarkCommitter(b, openEmbedded(b), callers) })
	}
}

func benchmarkCommitter(b *testing.B, s persistence.Store, callers int) {
	counted := &counting{Store: s}
	c := persistence.NewCommitter(counted, persistence.CommitterConfig{})
	defer c.Close(context.Background())
	free := make(chan struct{}, callers)
	for range callers {
		free <- struct{}{}
	}
	var failed atomic.Pointer[error]
	done := func(_ int64, err error) {
		if err != nil {
			failed.Store(&err)
		}
		free <- struct{}{}
	}
	var n int
	for b.Loop() {
		<-free
		n++
		c.Save(record700(strconv.Itoa(n)), done)
	}
	for range callers {
		<-free
	}
	require.Nil(b, failed.Load())
	b.ReportMetric(float64(n)/float64(counted.applies.Load()), "writes/batch")
}

type counting struct {
	persistence.Store
	applies atomic.Int64
}

func (c *counting) Apply(ctx context.Context, ops []persistence.Op) []persistence.Result {
	c.applies.Add(1)
	return c.Store.Apply(ctx, ops)
}

func openEmbedded(b *testing.B) persistence.Store {
	s, err := embedded.Open(b.TempDir())
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	return s
}
