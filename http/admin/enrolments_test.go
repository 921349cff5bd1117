package admin_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/enrolment"
)

func TestAdmin_EnrolmentTokensFromGenerationToRevocation(t *testing.T) {
	t.Parallel()
	b := start(t)
	a := b.open(t)
	made, err := a.GenerateEnrolmentToken(t.Context(), 2*time.Hour, 5)
	require.NoError(t, err)
	token, err := enrolment.Parse(made.Text)
	require.NoError(t, err)
	require.Equal(t, token.ID.String(), made.ID)
	require.Equal(t, enrolment.Of(b.authority), token.Fingerprint, "C18: the token says whom to trust")
	require.Equal(t, 2*time.Hour, made.Expires.Sub(made.Created))
	list, err := a.DescribeEnrolmentTokens(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, made.Enrolment, list[0])
	require.True(t, list[0].Active)
	n, err := a.RevokeEnrolmentToken(t.Context(), made.ID, true)
	require.NoError(t, err)
	require.Zero(t, n)
	list, err = a.DescribeEnrolmentTokens(t.Context())
	require.NoError(t, err)
	require.False(t, list[0].Active)
	require.NotContains(t, b.log.String(), made.Text)

	_, err = a.RevokeEnrolmentToken(t.Context(), uuid.NewString(), false)
	require.EqualError(t, err, "unknown enrolment token")
	for _, seconds := range []time.Duration{0, time.Second, 1 << 62} {
		_, err = a.GenerateEnrolmentToken(t.Context(), seconds, 1)
		require.EqualError(t, err, "an enrolment token is valid for 1m to 720h, for 1 to 1000 hosts")
	}
}
