package circle

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// still is a circle that does nothing, with a clock of its own.
func still(t *testing.T) (*Circle, *time.Time) {
	now := time.Now()
	c := &Circle{cfg: Config{Now: func() time.Time { return now }}.withDefaults(), self: "me", address: "10.0.0.1:1", state: newState()}
	c.log = c.cfg.Logger
	c.life, c.end = context.WithCancel(t.Context())
	t.Cleanup(c.end)
	return c, &now
}

// Addresses that are made up by the hundred leave room for those of brokers.
func TestKnown_RumoursLeaveRoomForBrokers(t *testing.T) {
	t.Parallel()
	c, now := still(t)
	for i := range 50 {
		var made []string
		for n := range 250 {
			made = append(made, fmt.Sprintf("10.%d.0.%d:1", i, n))
		}
		c.know(made, false, *now)
	}
	c.name("10.1.1.1:1", true, *now) // a broker told of it
	require.Contains(t, c.peers, "10.1.1.1:1")
	c.heard(c.peers["10.1.1.1:1"], hello{ID: "you", Address: "10.1.1.1:1"}, nil, *now)
	c.know([]string{"10.2.2.2:1"}, false, *now)
	require.Contains(t, c.peers, "10.2.2.2:1", "what is said to be there now goes before what was")
	require.Contains(t, c.peers, "10.1.1.1:1")
	require.LessOrEqual(t, len(c.peers), maxRumour+2)
	*now = now.Add(goneTime + time.Second)
	c.know(nil, false, *now)
	require.Len(t, c.peers, 1, "rumours are soon forgotten")
}

// An address that was this broker's own may be another one's later, and then is asked.
func TestKnown_AnAddressOfOursMayMove(t *testing.T) {
	t.Parallel()
	c, now := still(t)
	c.know([]string{"10.0.0.1:1", "vip.example:1"}, true, *now)
	due := c.due(*now)
	require.Len(t, due, 1, "its own is not asked")
	vip := due[0]
	c.heard(vip, hello{ID: "me", Address: "10.0.0.1:1"}, nil, *now)
	require.Len(t, c.seats(*now, time.Second), 1)
	require.Empty(t, c.due(*now))
	*now = now.Add(selfPause)
	require.Equal(t, []*peer{vip}, c.due(*now))
	c.heard(vip, hello{ID: "you", Address: "10.0.0.2:1"}, nil, *now)
	require.True(t, vip.alive(*now, time.Second))
	require.Len(t, c.seats(*now, time.Second), 2)
}
