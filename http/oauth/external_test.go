package oauth_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
	"opensessionmanager/http/oauth/authserver"
	"opensessionmanager/persistence/memory"
)

func TestExternal_AcceptsTokensLikeCognitos(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"alg": "RS256", "use": "sig", "kid": cognitoKID}))
	w.trust(t, p, func(s *authserver.Server) { s.Issuer, s.Scope = cognitoIssuer, "dcv-session-manager/sm_scope" })
	claims, header := cognito(w.clock.Now()), object{"kid": cognitoKID, "typ": nil}
	for range 2 { // the second is from the cache
		principal, err := w.principal(signed(t, jwt.SigningMethodRS256, key, header, claims))
		require.NoError(t, err)
		require.Equal(t, oauth.Principal{ClientID: "4b2k8example", Name: "4b2k8example", Issuer: cognitoIssuer}, principal)
		require.Equal(t, cognitoIssuer+" 4b2k8example", principal.Key())
	}
	for want, change := range map[string]object{
		"it lacks the scope":        {"scope": "dcv-session-manager/sm_scope2"},
		"it is not an access token": {"token_use": "id"},
		"issuer":                    {"iss": cognitoIssuer + "2"},
	} {
		_, err := w.principal(signed(t, jwt.SigningMethodRS256, key, header, with(claims, change)))
		require.ErrorIs(t, err, oauth.ErrInvalidToken)
		require.ErrorContains(t, err, want)
	}
}

func TestExternal_AcceptsTokensLikeAzures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"use": "sig", "kid": azureKID, "x5t": azureKID, "x5c": []string{"MIIC"}, "issuer": azureIssuer}))
	w.trust(t, p, func(s *authserver.Server) {
		s.URL, s.AnyPath = p.URL+"/tenant/discovery/v2.0/keys", true
		s.Algorithm, s.Issuer, s.Audience, s.Scope = "RS256", azureIssuer, "api://dcv", "Sessions.Manage"
	})
	claims, header := azure(w.clock.Now()), object{"kid": azureKID, "x5t": azureKID}
	principal, err := w.principal(signed(t, jwt.SigningMethodRS256, key, header, claims))
	require.NoError(t, err)
	require.Equal(t, oauth.Principal{ClientID: "11111111-2222-4333-8444-555555555555", Name: "11111111-2222-4333-8444-555555555555", Issuer: azureIssuer}, principal)
	for want, change := range map[string]object{
		"it lacks the scope":         {"roles": []string{"Other"}, "scp": "user_impersonation"},
		"it is for another audience": {"aud": "00000003-0000-0000-c000-000000000000"},
		"it lacks a claim":           {"exp": nil},
	} {
		_, err := w.principal(signed(t, jwt.SigningMethodRS256, key, header, with(claims, change)))
		require.ErrorContains(t, err, want)
	}
	_, err = w.principal(signed(t, jwt.SigningMethodRS256, key, header, with(claims, object{"roles": nil, "scp": "Sessions.Read Sessions.Manage"})))
	require.NoError(t, err)
	_, err = w.principal(signed(t, jwt.SigningMethodRS512, key, header, claims))
	require.ErrorIs(t, err, oauth.ErrInvalidToken, "the key fits, the algorithm does not")
}

// Our tokens and those of any number of servers count side by side.
func TestExternal_ManyServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, own := w.token(t, "portal")
	header := object{"kid": "the same everywhere"}
	var tokens []string
	for range 5 {
		key := newP256(t)
		point, err := key.PublicKey.Bytes()
		require.NoError(t, err)
		p := newProvider(t, object{"kty": "EC", "crv": "P-256", "kid": "the same everywhere", "x": b64(point[1:33]), "y": b64(point[33:])})
		w.trust(t, p)
		claims := with(azure(w.clock.Now()), object{"iss": p.URL})
		tokens = append(tokens, signed(t, jwt.SigningMethodES256, key, header, claims))
		principal, err := w.principal(tokens[len(tokens)-1])
		require.NoError(t, err)
		require.Equal(t, p.jwks(), principal.Issuer, "without a registered issuer it is where the keys are")
	}
	for _, token := range append(tokens, own) {
		require.NoError(t, w.authorize(token))
	}
	all, err := w.AuthServers().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 5)
	require.Equal(t, 1, all[0].Keys)
}

// enable-authorization-server = false (contract section 2).
func TestExternal_WithoutOurOwnServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, own := w.token(t, "portal")
	_, agent := w.agentToken(t)
	only := join(t, w.store, func(c *oauth.Config) { c.EnableServer = false })
	require.ErrorIs(t, only.authorize(own), oauth.ErrInvalidToken)
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"kid": "k"}))
	only.trust(t, p)
	require.NoError(t, only.authorize(signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, azure(w.clock.Now()))))
	require.ErrorIs(t, only.authorize(own), oauth.ErrInvalidToken)
	_, err := only.AuthorizeAgent([]byte("Bearer " + agent))
	require.NoError(t, err, "agents' tokens are no matter of this switch")
}

// What an administrator changes counts at once here, for tokens that were checked
// before as well, and on the other brokers when they look.
func TestExternal_UnregisteredAndChangedServers(t *testing.T) {
	t.Parallel()
	store := memory.New()
	w, second := join(t, store), join(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); second.Run(ctx, time.Millisecond) }()
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"kid": "k"}))
	w.trust(t, p)
	token := signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, azure(w.clock.Now()))
	require.NoError(t, w.authorize(token))
	awaitTrue(t, "the other broker to accept", func() bool { return second.authorize(token) == nil })

	w.trust(t, p, func(s *authserver.Server) { s.Scope = "more" })
	require.ErrorContains(t, w.authorize(token), "it lacks the scope")
	awaitTrue(t, "the other broker to refuse", func() bool { return second.authorize(token) != nil })
	w.trust(t, p)
	require.NoError(t, w.authorize(token))
	all, err := w.AuthServers().Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1, "registered again, not twice")

	require.NoError(t, w.AuthServers().Unregister(t.Context(), p.jwks()))
	require.ErrorIs(t, w.authorize(token), oauth.ErrInvalidToken)
	awaitTrue(t, "the other broker to refuse", func() bool { return second.authorize(token) != nil })
	require.ErrorIs(t, w.AuthServers().Unregister(t.Context(), p.jwks()), oauth.ErrUnknownAuthServer)
	cancel()
	<-ended
}

func TestExternal_RegistrationsSurviveARestartAndAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"kid": "k"}))
	w.trust(t, p, func(s *authserver.Server) { s.Audience = "api://dcv" })
	restarted := join(t, w.store)
	restarted.awaitKeys(t)
	require.NoError(t, restarted.authorize(signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, azure(w.clock.Now()))))
	require.ErrorIs(t, w.AuthServers().Register(t.Context(), authserver.Server{URL: "http://auth.example.com/.well-known/jwks.json"}), authserver.ErrInvalid)
	var err error
	for n := 0; err == nil; n++ {
		require.Less(t, n, 100)
		err = w.AuthServers().Register(t.Context(), authserver.Server{URL: p.URL + "/" + uuid.NewString() + "/.well-known/jwks.json"})
	}
	require.ErrorIs(t, err, oauth.ErrTooManyAuthServers)
}

// F22: a rotated key is found by the first token that is signed with it.
func TestExternal_RotatedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, fresh := newRSA(t), newRSA(t)
	p := newProvider(t, rsaJWK(old, object{"kid": "old"}))
	w.trust(t, p)
	before := signed(t, jwt.SigningMethodRS256, old, object{"kid": "old"}, azure(w.clock.Now()))
	after := signed(t, jwt.SigningMethodRS256, fresh, object{"kid": "fresh"}, azure(w.clock.Now()))
	require.NoError(t, w.authorize(before))
	require.ErrorIs(t, w.authorize(after), oauth.ErrInvalidToken)
	p.publish(rsaJWK(old, object{"kid": "old"}), rsaJWK(fresh, object{"kid": "fresh"}))
	w.clock.forward(11 * time.Second)
	require.NoError(t, w.authorize(after))
	p.publish(rsaJWK(fresh, object{"kid": "fresh"}))
	w.clock.forward(11 * time.Second)
	require.ErrorIs(t, w.authorize(signed(t, jwt.SigningMethodRS256, old, object{"kid": "elsewhere"}, azure(w.clock.Now()))), oauth.ErrInvalidToken)
	require.ErrorIs(t, w.authorize(before), oauth.ErrInvalidToken, "also in the cache")
}

// F22: 401 if the servers were reached and do not have the key, 503 if one that may
// have it never was. Nobody waits for ever, however many come.
func TestExternal_UnreachableServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newRSA(t)
	p := newProvider(t)
	p.says(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	require.NoError(t, w.AuthServers().Register(t.Context(), authserver.Server{URL: p.jwks(), Issuer: azureIssuer}))
	token := signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, azure(w.clock.Now()))
	var flood sync.WaitGroup
	began := time.Now()
	for range 2000 {
		flood.Go(func() {
			if err := w.authorize(token); err == nil || strings.Contains(err.Error(), p.URL) {
				t.Error(err)
			}
		})
	}
	flood.Wait()
	t.Logf("2,000 tokens at a server that stalls: %v", time.Since(began))
	require.Less(t, time.Since(began), time.Minute)
	require.ErrorIs(t, w.authorize(token), oauth.ErrUnavailable)
	foreign := signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, with(azure(w.clock.Now()), object{"iss": "https://elsewhere.example"}))
	require.ErrorIs(t, w.authorize(foreign), oauth.ErrInvalidToken, "no server that is away can have issued it")
	require.LessOrEqual(t, p.asked.Load(), int64(5))
	w.Close()
}

func TestExternal_UnknownKeysAreAskedForRarely(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := newRSA(t)
	p := newProvider(t, rsaJWK(key, object{"kid": "k"}))
	w.trust(t, p)
	good := signed(t, jwt.SigningMethodRS256, key, object{"kid": "k"}, azure(w.clock.Now()))
	forged := signed(t, jwt.SigningMethodRS256, newRSA(t), object{"kid": "invented"}, azure(w.clock.Now()))
	for i := range 300 {
		require.ErrorIs(t, w.authorize(forged), oauth.ErrInvalidToken)
		if i%100 == 0 {
			require.NoError(t, w.authorize(good))
		}
	}
	require.LessOrEqual(t, p.asked.Load(), int64(5))
}

// One line in the log for each change of a server's health, none for each token.
func TestExternal_TroubleIsLoggedOnce(t *testing.T) {
	t.Parallel()
	log := &lines{}
	w := newWorld(t, func(c *oauth.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	p := newProvider(t)
	w.trust(t, p)
	for range 5 {
		w.clock.forward(11 * time.Second)
		require.ErrorIs(t, w.authorize(signed(t, jwt.SigningMethodRS256, newRSA(t), object{"kid": "k"}, azure(w.clock.Now()))), oauth.ErrUnavailable)
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), p.jwks())
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
