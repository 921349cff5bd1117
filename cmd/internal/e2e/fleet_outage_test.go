//go:build fleet

package e2e

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outageTime is five minutes, or what FLEET_OUTAGE says (such as 1m).
func outageTime(t *testing.T) time.Duration {
	text := os.Getenv("FLEET_OUTAGE")
	if text == "" {
		return 5 * time.Minute
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "FLEET_OUTAGE")
	return d
}

// F19: Consul is down for five minutes. All brokers show everything all the time, refuse
// what they could not keep, and go on by themselves when it is back.
func TestFleet_GoesOnAfterFiveMinutesWithoutConsul(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, 6)
	onlooker := f.watch()
	load := f.pacedLoad(2, 200*time.Millisecond)
	for id, owner := range onlooker.owners {
		load.own(id, owner)
	}
	load.awaitAccepted(20)
	f.consul.Kill()
	down := time.Now()
	slowest := time.Duration(0)
	for i := 0; time.Since(down) < outageTime(t); i++ {
		began := time.Now()
		a, err := f.at(f.brokers[i%3]).try(http.MethodPost, "/createSessions?explain=true", list{virtual("nobody")})
		require.NoError(t, err)
		if countAccepted(a) > 0 { // it was on its way to Consul when that died
			require.Less(t, began.Sub(down), time.Second, "a create was accepted without Consul")
			load.keep("nobody", a)
		}
		if time.Since(down) > 20*time.Second {
			slowest = max(slowest, time.Since(began))
		}
		wait(t, 2*time.Second)
	}
	t.Logf("creates were refused within %v", slowest.Round(time.Millisecond))
	f.consul.Restart()
	back := time.Now()
	await(t, "a create to be accepted", func() error {
		a, err := f.at(f.brokers[1]).try(http.MethodPost, "/createSessions?explain=true", list{virtual("somebody")})
		if err == nil && countAccepted(a) == 0 {
			return errors.New(string(a.body))
		}
		load.keep("somebody", a)
		return err
	})
	t.Logf("writes are back %v after Consul", time.Since(back).Round(time.Millisecond))
	for _, b := range f.brokers {
		await(t, "a healthy broker", b.healthy)
	}
	load.awaitAccepted(10)
	onlooker.report(down)
	onlooker.stays(shown, down, f.brokers...)
	onlooker.stop()
	load.report(back)
	load.check(f.brokers...)
	judge(t, !strings.Contains(f.logs(), "starts anew"), "a broker was taken for dead")
	require.NotContains(t, f.logs(), "panic")
}
