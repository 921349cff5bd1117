package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/oauth"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/memory"
)

func (w *world) authorize(token string) error {
	_, err := w.Authorize([]byte("Bearer " + token))
	return err
}

// jwks returns the ids in the published key set.
func (w *world) jwks(t testing.TB) map[string]*ecdsa.PublicKey {
	t.Helper()
	var rc fasthttp.RequestCtx
	w.JWKSHandler()(&rc)
	require.Equal(t, fasthttp.StatusOK, rc.Response.StatusCode())
	require.Equal(t, "public, max-age=300", string(rc.Response.Header.Peek("Cache-Control")))
	var set struct {
		Keys []struct{ Kty, Crv, Kid, Use, Alg, X, Y, D string }
	}
	require.NoError(t, json.Unmarshal(rc.Response.Body(), &set))
	keys := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		require.Equal(t, []string{"EC", "P-256", "sig", "ES256", ""}, []string{k.Kty, k.Crv, k.Use, k.Alg, k.D})
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		require.NoError(t, err)
		y, err := base64.RawURLEncoding.DecodeString(k.Y)
		require.NoError(t, err)
		keys[k.Kid], err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		require.NoError(t, err)
	}
	return keys
}

func keyID(t testing.TB, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	require.NoError(t, err)
	return parsed.Header["kid"].(string)
}

// Tokens verify with what the JWKS path shows, so others can check them, too.
func TestJWKS_VerifiesOurTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.token(t, "portal")
	_, err := jwt.NewParser(jwt.WithTimeFunc(w.clock.Now)).Parse(token, func(token *jwt.Token) (any, error) {
		return w.jwks(t)[token.Header["kid"].(string)], nil
	})
	require.NoError(t, err)
}

// The old key verifies until its tokens have run out, and is dropped then, also from
// the key set.
func TestRenewKeys_OldTokensStayGoodUntilTheyExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, before := w.token(t, "portal")
	_, agent := w.agentToken(t)
	connection, err := w.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(t, err)
	w.clock.forward(time.Minute)
	require.NoError(t, w.RenewKeys(t.Context()))
	_, after := w.token(t, "other")
	require.NotEqual(t, keyID(t, before), keyID(t, after))
	require.Len(t, w.jwks(t), 2)

	w.clock.forward(58 * time.Minute)
	restarted := join(t, w.store)
	restarted.clock = w.clock
	for _, token := range []string{before, after} {
		require.NoError(t, w.authorize(token))
	}
	_, err = w.AuthorizeAgent([]byte("Bearer " + agent))
	require.NoError(t, err)
	_, reason, ok := w.ValidateConnection(connection, "s-1")
	require.True(t, ok, reason)

	w.clock.forward(6 * time.Minute)
	require.ErrorIs(t, w.authorize(before), oauth.ErrInvalidToken)
	require.Contains(t, w.jwks(t), keyID(t, after))
	require.Len(t, w.jwks(t), 1)
	records, err := w.store.Scan(t.Context(), "key", "", 10)
	require.NoError(t, err)
	require.Len(t, records, 3, "one record for each purpose, whoever dies in between")
}

// Another broker accepts a token that was signed with a key it has never seen, at once.
func TestRenewKeys_NewTokensAreGoodAtOtherBrokersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := join(t, w.store)
	for range 3 {
		require.NoError(t, w.RenewKeys(t.Context()))
		_, token := w.token(t, "portal-"+time.Now().String())
		require.NoError(t, second.authorize(token))
		connection, err := w.SignConnection("s-1", "s-1", "ann", "ann")
		require.NoError(t, err)
		_, reason, ok := second.ValidateConnection(connection, "s-1")
		require.True(t, ok, reason)
	}
	require.Len(t, second.jwks(t), 4)
}

// No request is refused while keys are renewed at several brokers at once.
func TestRenewKeys_UnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := join(t, w.store)
	id, password, err := w.Clients().Register(t.Context(), "portal")
	require.NoError(t, err)
	brokers := []*world{w, second}
	done := make(chan struct{})
	var load sync.WaitGroup
	for i := range 4 {
		load.Go(func() {
			for n := i; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				answer := ask(brokers[n%2].TokenHandler(), "/oauth2/token?grant_type=client_credentials", basic(id, password), "")
				if answer.StatusCode() != fasthttp.StatusOK {
					t.Errorf("no token: %s", answer.Body())
					return
				}
				if err := brokers[(n+1)%2].authorize(accessToken(t, answer)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var renewals sync.WaitGroup
	for i := range brokers {
		renewals.Go(func() {
			for range 10 {
				if err := brokers[i].RenewKeys(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	renewals.Wait()
	close(done)
	load.Wait()
}

func TestRenewKeys_HasABound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.token(t, "portal")
	var err error
	for n := 0; err == nil; n++ {
		require.Less(t, n, 100)
		err = w.RenewKeys(t.Context())
	}
	require.ErrorIs(t, err, oauth.ErrTooManyKeys)
	require.NoError(t, w.authorize(token), "refused without harm")
	w.clock.forward(2 * time.Hour)
	require.NoError(t, w.RenewKeys(t.Context()))
}

// The private half of a replaced key is gone, also from the store.
func TestRenewKeys_ForgetTheOldPrivateKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	material := func() string {
		record, err := w.store.Load(t.Context(), persistence.Key{Kind: "key", ID: "access"})
		require.NoError(t, err)
		var k struct{ Material string }
		require.NoError(t, json.Unmarshal(record.Data, &k))
		return k.Material
	}
	before := material()
	require.NoError(t, w.RenewKeys(t.Context()))
	require.NotEqual(t, before, material())
	record, err := w.store.Load(t.Context(), persistence.Key{Kind: "key", ID: "access"})
	require.NoError(t, err)
	require.NotContains(t, string(record.Data), before)
}

// F34, and its other side: a connection token of any broker, of any age that is
// allowed, is good at every broker, and nowhere once its session is gone.
func TestConnectionTokens_AtOtherBrokersAndAfterRenewals(t *testing.T) {
	t.Parallel()
	year := func(c *oauth.Config) { c.ConnectionTokenLifetime = 365 * 24 * time.Hour }
	w := newWorld(t, year)
	second := join(t, w.store, year)
	second.clock = w.clock
	token, err := w.SignConnection("s-1", "s-1", "ann", "bob")
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, w.RenewKeys(t.Context()))
		w.clock.forward(100 * 24 * time.Hour)
	}
	third := join(t, w.store, year, func(c *oauth.Config) { c.Now = w.clock.Now })
	for _, broker := range []*world{w, third} {
		user, reason, ok := broker.ValidateConnection(token, "s-1")
		require.True(t, ok, reason)
		require.Equal(t, "bob", user)
		_, reason, ok = broker.ValidateConnection(token, "s-2")
		require.False(t, ok)
		require.Contains(t, reason, "another session")
		broker.alive["s-1"] = false
		_, reason, ok = broker.ValidateConnection(token, "s-1")
		require.False(t, ok)
		require.Contains(t, reason, "does not exist")
		broker.alive["s-1"] = true
	}
	w.clock.forward(66 * 24 * time.Hour)
	_, _, ok := w.ValidateConnection(token, "s-1")
	require.False(t, ok, "it has expired")
}

// copyOf is a backup of a store.
func copyOf(t *testing.T, store persistence.Store) persistence.Store {
	t.Helper()
	backup := memory.New()
	for _, kind := range []string{"key", "api-client", "agent-client", "software-statement", "auth-server", "authorization"} {
		records, err := store.Scan(t.Context(), kind, "", 1000)
		require.NoError(t, err)
		for _, r := range records {
			r.Version = 0
			_, err := backup.Save(t.Context(), r)
			require.NoError(t, err)
		}
	}
	return backup
}

// F52: a backup brings back clients that were unregistered since, but no token.
func TestEpoch_ABackupBringsBackNoToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "epoch")
	remember := func(c *oauth.Config) { c.EpochFile = file }
	w := newWorld(t, remember)
	id, token := w.token(t, "portal")
	_, kept := w.token(t, "kept")
	backup := copyOf(t, w.store)
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	w = join(t, w.store, remember) // its start notes how new the store is
	require.NoError(t, w.authorize(kept))

	restored := join(t, backup, remember)
	require.ErrorIs(t, restored.authorize(token), oauth.ErrInvalidToken)
	require.ErrorIs(t, restored.authorize(kept), oauth.ErrInvalidToken, "nobody knows which were revoked")
	_, fresh := restored.token(t, "new")
	require.NoError(t, restored.authorize(fresh))

	again := join(t, backup, remember) // once is enough
	require.NoError(t, again.authorize(fresh))
}

// A broker that ran alone and joins a fleet, in which less was changed, does no harm there.
func TestEpoch_OfAnotherFleetDoesNotCount(t *testing.T) {
	t.Parallel()
	remember := func(file string) func(*oauth.Config) { return func(c *oauth.Config) { c.EpochFile = file } }
	file, theirs := filepath.Join(t.TempDir(), "epoch"), filepath.Join(t.TempDir(), "epoch")
	alone := newWorld(t, remember(file))
	for range 5 {
		require.NoError(t, alone.RenewKeys(t.Context()))
	}
	join(t, alone.store, remember(file)) // its start notes how new the store is

	fleet := newWorld(t, remember(theirs))
	require.NoError(t, fleet.RenewKeys(t.Context()))
	_, token := fleet.token(t, "portal")
	enrolment, _ := fleet.enrolmentToken(t, 1)
	connection, err := fleet.SignConnection("s-1", "s-1", "ann", "ann")
	require.NoError(t, err)

	joined := join(t, fleet.store, remember(file))
	for _, broker := range []*world{joined, join(t, fleet.store, remember(theirs))} {
		require.NoError(t, broker.authorize(token))
		_, reason, ok := broker.ValidateConnection(connection, "s-1")
		require.True(t, ok, reason)
	}
	require.Equal(t, 201, joined.enrolBy(t, enrolment, "a").status)

	backup := copyOf(t, fleet.store)
	require.NoError(t, fleet.RenewKeys(t.Context()))
	join(t, fleet.store, remember(file))
	require.ErrorIs(t, join(t, backup, remember(file)).authorize(token), oauth.ErrInvalidToken, "it counts for the fleet that it joined")
}

// F52, while brokers run: what they know is newer than the store, also if nothing had
// been changed yet when the backup was made.
func TestEpoch_ABackupUnderRunningBrokers(t *testing.T) {
	t.Parallel()
	for _, changes := range []int{1, 0} {
		t.Run(fmt.Sprint(changes, " before it"), func(t *testing.T) { t.Parallel(); backupUnderBroker(t, changes) })
	}
}

func backupUnderBroker(t *testing.T, changes int) {
	inner := &swapped{Store: memory.New()}
	restored := make(chan struct{}, 100)
	w := join(t, inner, func(c *oauth.Config) { c.Restored = func() { restored <- struct{}{} } })
	id, token := w.token(t, "portal")
	for range changes {
		require.NoError(t, w.RenewKeys(t.Context()))
	}
	backup := copyOf(t, inner)
	require.NoError(t, w.Clients().Unregister(t.Context(), id))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx, time.Millisecond) }()
	_, late := w.token(t, "late")
	require.NoError(t, w.authorize(late))
	awaitTrue(t, "the broker to have looked", func() bool { return inner.loads.Load() > 10 })
	inner.swap(backup)
	awaitTrue(t, "the backup to be noticed", func() bool { return w.authorize(late) != nil })
	require.ErrorIs(t, w.authorize(token), oauth.ErrInvalidToken)
	awaitTrue(t, "the client to be unregistered again", func() bool {
		all, err := w.Clients().Describe(t.Context())
		return err == nil && slices.ContainsFunc(all, func(d oauth.Description) bool { return d.ID == id && !d.Active })
	})
	cancel()
	<-ended
	require.Len(t, restored, 1)
}
