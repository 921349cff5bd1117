//go:build fleet

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cmd/internal/history"
)

// Promises 1 to 6, F1 to F4, F19, F42 to F44: whatever befalls a fleet, what clients
// were answered fits together, and no host is overbooked. Three runs are the same each
// time, one is new.
func TestFleet_HistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3, uint64(time.Now().UnixNano())} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runHistory(t, newPlan(seed, 20*time.Second))
		})
	}
}

// TestHistories is `make histories`: as many runs as wanted, each with a seed of its
// own, or one with a given seed.
func TestHistories(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv("HISTORY_RUNS"))
	if err != nil {
		t.Skip("started by make histories")
	}
	length, err := time.ParseDuration(os.Getenv("HISTORY_TIME"))
	require.NoError(t, err, "HISTORY_TIME")
	first := uint64(time.Now().UnixNano())
	if seed := os.Getenv("HISTORY_SEED"); seed != "" {
		first, err = strconv.ParseUint(seed, 10, 64)
		require.NoError(t, err, "HISTORY_SEED")
	}
	for i := range runs {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runHistory(t, newPlan(seed, length))
		})
	}
}

func runHistory(t *testing.T, p *plan) {
	began := time.Now()
	r := startHistory(t, p)
	up := time.Since(began)
	r.live()
	healed := time.Now()
	unsettled := r.calm()
	calm := time.Since(healed)
	h := r.history()
	found := history.Check(h, decide)
	if unsettled != nil {
		found = append(found, history.Finding{Check: "in the end", Text: unsettled.Error()})
	}
	for _, m := range r.mistakes {
		found = append(found, history.Finding{Check: "answer", Text: m})
	}
	t.Logf("seed %d: %s; up after %.1f s, calm %.1f s after the last fault, checked in %.1f s: %d findings", p.seed, r.summary(h),
		up.Seconds(), calm.Seconds(), time.Since(healed.Add(calm)).Seconds(), len(found))
	if len(found) == 0 {
		return
	}
	for _, f := range found[:min(len(found), 5)] {
		text := f.String()
		t.Errorf("%s", text[:min(len(text), 3000)])
	}
	t.Logf("%s\nkept in %s\nto run again: make histories SEED=%d RUNS=1 TIME=%v", p, r.keep(h, found), p.seed, p.length)
}
