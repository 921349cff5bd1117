package actors

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// F19: the time of a session is over while its grain, in doubt about a write, cannot read
// the store. When that is back the session ends, instead of waiting for ever.
func TestDeadline_ThatPassedWhileTheStoreWasAwayCounts(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	w := worldOver(t, faulty.New(memory.New(), faulty.Config{Decide: func(faulty.Call) faulty.Fault {
		if away.Load() {
			return faulty.Unavailable
		}
		return faulty.None
	}}))
	w.accepted("s-1", "ann", enqueued)

	away.Store(true)
	w.refused(w.delete("s-1", "ann", false), messages.CodeStoreUnavailable)
	w.clock.Advance(w.deps.Config.Session.Queue)
	w.refused(w.delete("s-1", "ann", false), messages.CodeStoreUnavailable) // behind the alarm
	away.Store(false)

	await(t, "the session to end", func() error {
		w.clock.Advance(time.Second)
		if w.view("s-1").GetState() != deleted {
			return errors.New("it waits still")
		}
		return nil
	})
	require.Equal(t, messages.CodeQueueTimeout, w.view("s-1").GetReasonCode())
}
