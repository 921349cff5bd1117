package messages

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// F46: two minor versions apart work together, in both directions; more do not.
func TestProtocolVersion_WorksWithTwoMinorVersions(t *testing.T) {
	t.Parallel()
	at := func(major, minor int32) *ProtocolVersion { return &ProtocolVersion{Major: major, Minor: minor} }
	for _, c := range []struct {
		a, b *ProtocolVersion
		want bool
	}{
		{at(1, 4), at(1, 4), true},
		{at(1, 4), at(1, 2), true},
		{at(1, 4), at(1, 6), true},
		{at(1, 4), at(1, 1), false},
		{at(1, 4), at(1, 7), false},
		{at(1, 4), at(2, 4), false},
		{at(1, 0), at(0, 0), false},
		{at(1, 0), nil, false},
		{at(1, math.MaxInt32), at(1, 0), false},
	} {
		require.Equal(t, c.want, c.a.WorksWith(c.b), "%s with %s", c.a.Text(), c.b.Text())
		require.Equal(t, c.want, c.b.WorksWith(c.a), "%s with %s", c.b.Text(), c.a.Text())
	}
	require.False(t, at(1, 1).WorksWith(at(1, -1)), "hostile")
	require.Equal(t, "1.2 to 1.6", at(1, 4).Range())
	require.Equal(t, "1.0 to 1.2", at(1, 0).Range())
	require.True(t, at(1, 4).OlderThan(at(2, 0)))
	require.True(t, at(1, 4).OlderThan(at(1, 5)))
	require.False(t, at(2, 0).OlderThan(at(1, 9)))
}
