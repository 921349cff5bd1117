package oauth_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
)

// Contract section 2: id is a UUID, password base64 of a UUID's text, 48 characters.
func TestClients_CredentialsLookLikeTheVendors(t *testing.T) {
	t.Parallel()
	id, password, err := newWorld(t).Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(id))
	require.Len(t, password, 48)
	raw, err := base64.StdEncoding.DecodeString(password)
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(string(raw)))
}

func TestClients_TheStoreHoldsNoPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	records, err := w.store.Scan(t.Context(), "api-client", "", 10)
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, id, records[0].Key.ID)
	require.NotContains(t, string(records[0].Data), password)
}

func TestClients_NamesAreUniqueAmongActiveClientsFleetWide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := join(t, w.store)
	id, _, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	_, _, err = second.Clients().Register(t.Context(), "portal")
	require.ErrorIs(t, err, oauth.ErrNameTaken)
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	_, _, err = second.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)

	all, err := w.Clients().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, c := range all {
		require.Equal(t, c.ID != id, c.Active)
	}
}

// F29: names with control characters, invalid UTF-8 or no end are refused.
func TestClients_RefuseUnusableNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"", "a\nb", "a\x00", "\xff", strings.Repeat("a", 257)} {
		_, _, err := w.Clients().Register(t.Context(), name)
		require.ErrorIs(t, err, oauth.ErrName)
	}
	_, _, err := w.Clients().Register(t.Context(), "Präsentation 🙂")
	require.NoError(t, err)
}

func TestClients_DeactivationCountsAtOnceHereAndSoonElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token := w.token(t, "portal")
	second := join(t, w.store)
	header := []byte("Bearer " + token)
	for _, broker := range []*world{w, second} { // the answer is cached now
		_, err := broker.Authorize(header)
		require.NoError(t, err)
	}
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	_, err := w.Authorize(header)
	require.ErrorIs(t, err, oauth.ErrInvalidToken)
	require.NoError(t, second.Clients().Refresh(t.Context()))
	_, err = second.Authorize(header)
	require.ErrorIs(t, err, oauth.ErrInvalidToken)

	require.ErrorIs(t, w.Clients().Unregister(t.Context(), uuid.NewString()), oauth.ErrUnknownClient)
	require.ErrorIs(t, w.Clients().Unregister(t.Context(), "no uuid"), oauth.ErrUnknownClient)
}

// Promise 2: a client registered on one broker is known to the next request on another.
func TestClients_AreKnownOnOtherBrokersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := join(t, w.store)
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	answer := ask(second.TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), "")
	third := join(t, w.store)
	principal, err := third.Authorize([]byte("Bearer " + accessToken(t, answer)))
	require.NoError(t, err)
	require.Equal(t, oauth.Principal{ClientID: id, Name: "portal"}, principal)
}

func TestServer_RunRefreshesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token := w.token(t, "portal")
	second := join(t, w.store)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); second.Run(ctx, time.Millisecond) }()
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	require.Eventually(t, func() bool {
		_, err := second.Authorize([]byte("Bearer " + token))
		return err != nil
	}, time.Minute, time.Millisecond, "the other broker never refused the client")
	cancel()
	<-ended
}
