package cli

import (
	"fmt"
	"sync"
	"time"
)

// showProgress prints a line that counts seconds, once the first one is over, and
// only for people. The function it returns removes the line.
func (a App) showProgress(what string) (stop func()) {
	if !a.Terminal {
		return func() {}
	}
	var done sync.WaitGroup
	end := make(chan struct{})
	done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for seconds := 1; ; seconds++ {
			select {
			case <-tick.C:
				fmt.Fprintf(a.Stderr, "\r%s... %d s", what, seconds)
			case <-end:
				if seconds > 1 {
					fmt.Fprint(a.Stderr, "\r\x1b[K")
				}
				return
			}
		}
	})
	return func() {
		close(end)
		done.Wait()
	}
}
