//go:build fleet

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// F47: brokers leave in good order and join under load. A request that was taken is
// answered; a client that asks another broker once when nobody listens, or one refuses
// because it starts or stops, never fails.
func TestFleet_LeavesAndJoinsWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, 6)
	load := f.pacedLoad(4, 5*time.Millisecond)
	load.awaitAccepted(40)
	began := time.Now()
	for range 2 {
		for _, b := range f.brokers {
			stopped := time.Now()
			require.Zero(t, b.proc.stop())
			t.Logf("left within %v", time.Since(stopped).Round(time.Millisecond))
			load.awaitAccepted(20)
			b.start()
			load.awaitAccepted(20)
		}
	}
	load.report(began)
	load.check(f.brokers...)
	judge(t, len(load.failed) == 0, "requests that failed at two brokers: %v", load.failed)
	for why, n := range load.retried {
		judge(t, !strings.HasSuffix(why, "no answer"), "%d requests were taken and not answered: %s", n, why)
	}
	require.NotContains(t, f.logs(), "panic")
}
