package oauth_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

// C20: no default secrets; each fleet makes its own, and different ones per use.
func TestKeys_SecretsAreRandomPerFleetAndDifferPerName(t *testing.T) {
	t.Parallel()
	one, err := oauth.LoadKeys(t.Context(), memory.New())
	require.NoError(t, err)
	other, err := oauth.LoadKeys(t.Context(), memory.New())
	require.NoError(t, err)
	require.Len(t, one.Secret("pagination"), 32)
	require.NotEqual(t, one.Secret("pagination"), one.Secret("idempotency"))
	require.NotEqual(t, one.Secret("pagination"), other.Secret("pagination"))
}

// F3: after a restart keys are unchanged and issued tokens stay valid.
func TestKeys_SurviveARestart(t *testing.T) {
	t.Parallel()
	before := newWorld(t)
	_, token := before.token(t, "portal")
	connection, err := before.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(t, err)

	after := join(t, before.store)
	_, err = after.Authorize([]byte("Bearer " + token))
	require.NoError(t, err)
	_, reason, ok := after.ValidateConnection(connection, "s-1")
	require.True(t, ok, reason)
}

func TestKeys_BrokersThatStartTogetherAgree(t *testing.T) {
	t.Parallel()
	store := memory.New()
	secrets := make([][]byte, 8)
	var started sync.WaitGroup
	for i := range secrets {
		started.Go(func() {
			keys, err := oauth.LoadKeys(t.Context(), store)
			if err == nil {
				secrets[i] = keys.Secret("x")
			}
		})
	}
	started.Wait()
	for _, secret := range secrets {
		require.NotNil(t, secret)
		require.Equal(t, secrets[0], secret)
	}
}

func TestKeys_DamagedRecordIsReportedWithoutItsContent(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{"material":"c2VjcmV0"}`, `secret`, `{"kid":"a","material":"c2VjcmV0"}`} {
		store := memory.New()
		_, err := store.Save(t.Context(), persistence.Record{Key: persistence.Key{Kind: "key", ID: "access"}, Data: []byte(data)})
		require.NoError(t, err)
		_, err = oauth.LoadKeys(t.Context(), store)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "c2VjcmV0")
	}
}
