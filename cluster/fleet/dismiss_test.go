//go:build !race

package fleet

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// Promises 2 and 3: a broker that the others go on without, alive and cut off from the
// registry, learns it from them at once, not from its next probe.
func TestView_WhoIsRemovedAliveIsTold(t *testing.T) {
	t.Parallel()
	const never = time.Hour // on its own account it notices nothing
	registry := membership.NewMemory(never)
	lines := []*membership.Line{registry.Connect(), registry.Connect()}
	all := fellows(t, 2, func(i int, c *Config) {
		c.Source = membership.New(lines[i], membership.Options{TTL: never, Heartbeat: 15 * time.Second, Settle: time.Millisecond, Logger: c.Logger})
	})
	stays, removed := all[0], all[1]
	lines[1].Cut()
	t.Cleanup(lines[1].Mend)
	require.NoError(t, removed.Contact())
	var view map[string]any
	require.NoError(t, json.Unmarshal(registry.Document(), &view))
	view["epoch"] = stays.View().Epoch + 1
	for _, m := range view["members"].([]any) {
		if m.(map[string]any)["id"] == stays.Self().ID {
			view["members"] = []any{m}
		}
	}
	data, err := json.Marshal(view)
	require.NoError(t, err)
	registry.Put(data)
	await(t, "it to know", func() bool { return errors.Is(removed.Contact(), ErrBehind) })
	require.NoError(t, stays.Contact())
}

// F5, F19: a broker that the registry does not serve any more says so when it is asked,
// and the others go on without it.
func TestProbe_WhoHasNoContactSaysSo(t *testing.T) {
	t.Parallel()
	registry := membership.NewMemory(membership.DefaultTTL)
	lines := []*membership.Line{registry.Connect(), registry.Connect()}
	all := fellows(t, 2, func(i int, c *Config) { c.Source = membership.New(lines[i], membership.Options{Logger: c.Logger}) })
	lines[1].Cut()
	t.Cleanup(lines[1].Mend)
	await(t, "it to say so", func() bool {
		err := all[0].probe(withTime(t), all[1].Self())
		require.NotErrorIs(t, err, membership.ErrGone)
		return errors.Is(err, membership.ErrOutOfContact)
	})
	await(t, "the other one to go on", func() bool { return len(all[0].View().Members) == 1 })
}

// hellos counts the handshakes that a client begins.
type hellos struct{ atomic.Int64 }

func (h *hellos) Read(p []byte) (int, error) {
	h.Add(1)
	return rand.Read(p)
}

// Probes run several times a second while the registry is down: one that is answered makes
// no connection.
func TestProbe_WhoAnswersIsNotKnockedAt(t *testing.T) {
	t.Parallel()
	var handshakes hellos
	all := fellows(t, 2, func(_ int, c *Config) { c.ClientTLS.Rand = &handshakes })
	round := func() (answered bool) {
		for range 20 {
			err := all[0].probe(withTime(t), all[1].Self())
			if err != nil && !errors.Is(err, membership.ErrConfirmed) {
				return false
			}
		}
		return true
	}
	await(t, "answers", round)
	require.NotZero(t, handshakes.Load(), "the connection that stays")
	await(t, "twenty answers without a handshake", func() bool { // on a busy machine one may be late
		before := handshakes.Load()
		return round() && handshakes.Load() == before
	})
}
