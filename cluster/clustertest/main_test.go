//go:build fleet && !race

package clustertest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		code = ended(
			// fasthttp's workers look every 10 s whether their server has ended, its clock never.
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
	}
	os.Exit(code)
}

// ended waits until all goroutines have. goleak alone gives them a second, and many brokers
// end at once on a busy machine: their logs, their connections, and the library's sleeps of
// two seconds. What is left after all that leaks.
func ended(known ...goleak.Option) (code int) {
	for end := time.Now().Add(patience); ; {
		err := goleak.Find(known...) // it waits itself
		switch {
		case err == nil:
			return 0
		case time.Now().After(end):
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// patience only ends what would hang for ever; it is no expectation.
const patience = 60 * time.Second

// await tries until there is no error, and fails with the last one.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
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
