package e2e

import (
	"testing"
	"time"
)

const (
	// patience only ends what would hang for ever; it is no expectation.
	patience = 90 * time.Second
	pause    = 50 * time.Millisecond
)

// await tries until there is no error, and fails with the last one.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the test ended while waiting for %s: %v", what, err)
		case <-end.C:
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// wait lets time pass that a story is about, such as the moment of a crash.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
