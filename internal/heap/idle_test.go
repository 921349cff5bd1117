package heap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// waits says after how many seconds the next collection is due.
func waits(i *idle, cycles, live, has int64) int {
	for second := 1; second <= 10*late; second++ {
		if i.due(cycles, live, has) {
			return second - 1 // the first noticed the last collection
		}
	}
	return -1
}

func TestIdle_CollectsSoonAfterAStorm(t *testing.T) {
	t.Parallel()
	quiet := idle{wait: soon}
	require.Equal(t, soon, waits(&quiet, 1, 300<<20, 400<<20))
	require.Equal(t, soon, waits(&quiet, 2, 10<<20, 400<<20), "much was given back")
}

func TestIdle_CollectsSoonAfterALongStorm(t *testing.T) {
	t.Parallel()
	quiet := idle{wait: soon}
	for cycle := int64(1); cycle < 30; cycle++ {
		require.False(t, quiet.due(cycle, 300<<20, 400<<20))
	}
	require.Equal(t, soon, waits(&quiet, 30, 300<<20, 400<<20))
}

func TestIdle_ALargeBrokerDoesNotCollectInVain(t *testing.T) {
	t.Parallel()
	quiet := idle{wait: soon}
	require.Equal(t, soon, waits(&quiet, 1, 1<<30, 1<<31))
	require.Equal(t, 2*soon, waits(&quiet, 2, 1<<30+1<<20, 1<<31))
	require.Equal(t, 4*soon, waits(&quiet, 3, 1<<30, 1<<31))
	require.Equal(t, 8*soon, waits(&quiet, 4, 1<<30, 1<<31))
	for cycle := int64(5); cycle < 10; cycle++ {
		require.Equal(t, late, waits(&quiet, cycle, 1<<30, 1<<31))
	}
	require.False(t, quiet.due(10, 1<<30, 1<<31))
	require.Equal(t, soon, waits(&quiet, 11, 1<<30, 1<<31), "work made a collection necessary")
}

func TestIdle_LeavesASmallProcessAlone(t *testing.T) {
	t.Parallel()
	quiet := idle{wait: soon}
	require.Equal(t, -1, waits(&quiet, 1, 10<<20, worthwhile-1))
}
