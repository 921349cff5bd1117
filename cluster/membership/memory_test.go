//go:build fleet

package membership_test

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"opensessionmanager/cluster/membership"
	"opensessionmanager/cluster/membership/membershiptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick are times for tests: short, but long enough for a busy machine.
func quick(t testing.TB) membership.Options {
	return membership.Options{TTL: 1200 * time.Millisecond, Grace: 200 * time.Millisecond, Pace: time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

type memoryFleet struct {
	*membership.Memory
	options membership.Options
}

func (f memoryFleet) Pace() time.Duration { return f.options.Pace }

func (f memoryFleet) Open(testing.TB) (membership.Source, membershiptest.Line) {
	line := f.Connect()
	return membership.New(line, f.options), line
}

func newMemoryFleet(t testing.TB) memoryFleet {
	o := quick(t)
	return memoryFleet{membership.NewMemory(o.TTL), o}
}

func TestMemory_KeepsTheContract(t *testing.T) {
	t.Parallel()
	membershiptest.Run(t, func(t testing.TB) membershiptest.Fleet { return newMemoryFleet(t) })
}
