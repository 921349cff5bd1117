//go:build fleet

package e2e

import (
	"errors"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// F1 and F47 at their quickest: brokers are killed and started again at once at their old
// addresses, one after the other. Who comes back is let in soon and stays, whatever the
// others remember of the process before it.
func TestFleet_TakesBackBrokersThatRestartAtOnce(t *testing.T) {
	t.Parallel()
	const restarts = 20
	f := startFleet(t, 3, 3)
	load := f.pacedLoad(2, 100*time.Millisecond)
	load.awaitAccepted(10)
	began, first := time.Now(), f.epoch()
	var slowest time.Duration
	for i := range restarts {
		b := f.brokers[i%len(f.brokers)]
		load.setDown(true, b)
		b.proc.kill()
		started := time.Now()
		b.start()
		took := time.Since(started)
		load.setDown(false, b)
		t.Logf("restart %d: ready after %v", i+1, took.Round(time.Millisecond))
		slowest = max(slowest, took)
		load.awaitAccepted(3)
	}
	load.report(began)
	t.Logf("slowest start %v", slowest.Round(time.Millisecond))
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.Less(t, slowest, 20*time.Second)
	// Each restart adds one process and removes one, in one view or in two.
	changes := f.epoch() - first
	t.Logf("%d views for %d restarts", changes, restarts)
	require.GreaterOrEqual(t, changes, uint64(restarts))
	require.LessOrEqual(t, changes, uint64(2*restarts))
	require.NotContains(t, f.logs(), "the others removed this broker", "a broker that lives was removed")
	require.NotContains(t, f.logs(), "panic")
}

// SIGTERM in the middle of all this is an orderly end.
func TestFleet_StopsInOrderWhileARestartIsUnderWay(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 2, 0)
	b := f.brokers[1]
	for i := range 8 {
		b.proc.kill()
		before := len(b.log.String())
		b.launch()
		await(t, "its first words", func() error {
			if len(b.log.String()) == before {
				return errors.New("silence")
			}
			return nil
		})
		wait(t, time.Duration(i)*100*time.Millisecond)
		require.Zero(t, b.proc.stop(), "try %d", i)
		b.start()
	}
	require.NotContains(t, f.logs(), "panic")
}

// epoch is the latest of the fleet's views that brokers logged.
func (f *fleet) epoch() (latest uint64) {
	f.t.Helper()
	for _, found := range regexp.MustCompile(`the fleet changed.*?\bepoch"?[=:](\d+)`).FindAllStringSubmatch(f.logs(), -1) {
		n, err := strconv.ParseUint(found[1], 10, 64)
		require.NoError(f.t, err)
		latest = max(latest, n)
	}
	if latest == 0 {
		f.t.Fatal(errors.New("no broker logged a view"))
	}
	return latest
}
