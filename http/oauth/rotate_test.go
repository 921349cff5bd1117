package oauth_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
)

// works says whether a broker gives a token for a password.
func (w *world) works(id, password string) bool {
	return ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), "").StatusCode() == 200
}

// C27: a password can be replaced while the portal goes on with the old one.
func TestRotate_BothPasswordsCountUntilTheOverlapEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, first, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	second, until, err := w.Clients().Rotate(t.Context(), id, time.Hour)
	require.NoError(t, err)
	require.Equal(t, w.clock.Now().Add(time.Hour).UTC(), until)
	require.NotEqual(t, first, second)
	require.True(t, w.works(id, first))
	require.True(t, w.works(id, second))

	other := join(t, w.store) // another broker, and one after a restart
	require.True(t, other.works(id, first))
	require.True(t, other.works(id, second))

	third, _, err := w.Clients().Rotate(t.Context(), id, time.Hour)
	require.NoError(t, err)
	require.True(t, other.works(id, third), "another broker takes the newest at once")
	require.True(t, other.works(id, second))
	require.False(t, w.works(id, first), "two rotations ago")

	w.clock.forward(time.Hour)
	require.False(t, w.works(id, second))
	require.True(t, w.works(id, third))
}

// A password that others know is out at once, and tokens stay with their client.
func TestRotate_WithoutOverlapTheOldPasswordIsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, first, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	token := accessToken(t, ask(w.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, first), ""))
	second, _, err := w.Clients().Rotate(t.Context(), id, 0)
	require.NoError(t, err)
	require.False(t, w.works(id, first))
	require.True(t, w.works(id, second))
	require.NoError(t, w.authorize(token))
}

func TestRotate_NeedsAnActiveClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.Clients().Rotate(t.Context(), uuid.NewString(), 0)
	require.ErrorIs(t, err, oauth.ErrUnknownClient)
	_, _, err = w.Clients().Rotate(t.Context(), "x", 0)
	require.ErrorIs(t, err, oauth.ErrUnknownClient)
	id, first, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	_, _, err = w.Clients().Rotate(t.Context(), id, 0)
	require.ErrorIs(t, err, oauth.ErrInactive)
	require.False(t, w.works(id, first))
}
