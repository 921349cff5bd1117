//go:build fleet

package e2e

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// crowd is how many programs may want each processor before times say nothing about
// brokers any more: all timers of a fleet are made for machines that are not full.
const crowd = 8

// judge fails the test over times, and over what depends on them, unless this machine
// was too busy to tell. What must hold however slow a machine is does not come here.
func judge(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	load := machineLoad()
	switch {
	case ok:
	case load > float64(crowd*runtime.NumCPU()):
		t.Logf("NOT JUDGED, the load of this machine is %.0f: "+format, append([]any{load}, args...)...)
	default:
		t.Errorf(format, args...)
	}
}

// machineLoad is how many programs want to run, on average of the last minutes; 0 if
// the system does not say.
func machineLoad() (most float64) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	for _, field := range strings.Fields(string(text))[:2] { // of one minute and of five
		if load, err := strconv.ParseFloat(field, 64); err == nil {
			most = max(most, load)
		}
	}
	return most
}
