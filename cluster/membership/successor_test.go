package membership

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSucceed_KeepsTheMembersAndRaisesTheEpoch(t *testing.T) {
	t.Parallel()
	data, err := doc(7, "a", "b").encode()
	require.NoError(t, err)
	for _, above := range []uint64{0, 7, 5000} {
		next, err := Succeed(data, above)
		require.NoError(t, err)
		back, err := decode(next, 1)
		require.NoError(t, err)
		require.Equal(t, doc(7, "a", "b").Members, back.Members)
		require.Greater(t, back.Epoch, max(7, above)+1)
		require.Equal(t, back.Epoch, Epoch(next))
	}
}

func TestSucceed_KeepsWhatALaterVersionWrote(t *testing.T) {
	t.Parallel()
	next, err := Succeed([]byte(`{"protocol":9,"epoch":3,"mood":[1]}`), 0)
	require.NoError(t, err)
	require.JSONEq(t, `{"protocol":9,"epoch":103,"mood":[1]}`, string(next))
}

func TestSucceed_RefusesWhatIsNoView(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "null", "[]", "{}", `{"epoch":-1}`, `{"epoch":18446744073709551615}`} {
		_, err := Succeed([]byte(text), 0)
		require.ErrorIs(t, err, ErrForeign, text)
		require.Zero(t, Epoch([]byte(text)), text)
	}
}
