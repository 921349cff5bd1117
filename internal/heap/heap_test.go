package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLimit_LeavesRoomAndFollowsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		needed := rapid.Int64Range(0, 1<<40).Draw(t, "needed")
		more := needed + rapid.Int64Range(0, 1<<30).Draw(t, "more")
		require.GreaterOrEqual(t, limit(needed), int64(floor))
		require.GreaterOrEqual(t, limit(needed), needed+leastRoom)
		require.LessOrEqual(t, limit(needed), max(floor, needed+needed/4, needed+leastRoom))
		require.LessOrEqual(t, limit(needed), limit(more))
	})
}

func TestNeeded_CountsWhatIsLive(t *testing.T) {
	read := newReader()
	runtime.GC()
	before := read.now().needed
	const size = 64 << 20
	kept := make([]byte, size)
	runtime.GC()
	after := read.now().needed
	runtime.KeepAlive(kept)
	require.InDelta(t, size, after-before, size/4)
}

func TestBound_PutsTheLimitBack(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Bound(ctx)
	require.Equal(t, before, debug.SetMemoryLimit(-1))
}

func TestBound_LeavesTheOperatorsLimitAlone(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	before := debug.SetMemoryLimit(123 << 20)
	defer debug.SetMemoryLimit(before)
	Bound(t.Context())
	require.Equal(t, int64(123<<20), debug.SetMemoryLimit(-1))
}
