package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership"
)

// slowWatch is a source that is a member long before it says who else is.
type slowWatch struct {
	membership.Source
	watched, release chan struct{}
}

func (s *slowWatch) Watch(f func(*membership.View)) (stop func()) {
	close(s.watched)
	<-s.release
	return s.Source.Watch(f)
}

// Promises 2 and 3: a broker that has just become a member trusts its picture only once it
// was told who else is in the fleet. Until then it would call absent what it has not seen.
func TestJoin_TrustsItselfOnlyWhenItKnowsWhoElseIsThere(t *testing.T) {
	t.Parallel()
	source := &slowWatch{Source: membership.NewAlone(), watched: make(chan struct{}), release: make(chan struct{})}
	moved := false
	f := prepare(t, 0, func(c *Config) {
		c.Source = source
		c.Moved = func(_, _ *membership.View) { moved = true }
	})
	joined := make(chan error)
	go func() { joined <- f.Join(t.Context()) }()
	<-source.watched
	require.NoError(t, source.Contact(), "the source is a member")
	require.ErrorIs(t, f.Contact(), membership.ErrNotMember)
	close(source.release)
	require.NoError(t, <-joined)
	require.True(t, moved)
	require.NoError(t, f.Contact())
}
