package persistence_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/faulty"
	"opensessionmanager/persistence/memory"
)

// F17: a disk that hangs keeps to no timeout; the broker shows it nevertheless.
func TestCommitter_HealthTellsOfAStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(held) })
	hang := func(context.Context, []faulty.Call) error { <-held; return nil }
	c := start(t, faulty.New(memory.New(), faulty.Config{Delay: hang}), persistence.CommitterConfig{Timeout: 10 * time.Millisecond})
	defer goOn()
	done := make(chan error, 1)
	c.Save(thing("a", 0, ""), func(_ int64, err error) { done <- err })
	healthy := func() bool { return c.Health() == nil }
	require.Eventually(t, func() bool { return !healthy() }, 30*time.Second, time.Millisecond, "it is told while the write hangs")
	require.ErrorIs(t, c.Health(), persistence.ErrUncertain)
	goOn()
	<-done
	_, err := save(c, thing("b", 0, ""))
	require.NoError(t, err)
	require.NoError(t, c.Health())
}
