package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth"
	"opensessionmanager/http/oauth/authserver"
)

type object = map[string]any

// provider is an external authorization server: a key set, and tokens to order.
type provider struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newProvider(t testing.TB, keys ...object) *provider {
	t.Helper()
	p := &provider{}
	p.publish(keys...)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		(*p.answer.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) says(answer http.HandlerFunc) { p.answer.Store(&answer) }

func (p *provider) publish(keys ...object) {
	p.says(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(object{"keys": keys}) })
}

func (p *provider) jwks() string { return p.URL + "/.well-known/jwks.json" }

// trust registers a provider, and waits for its keys.
func (w *world) trust(t testing.TB, p *provider, more ...func(*authserver.Server)) {
	t.Helper()
	s := authserver.Server{URL: p.jwks()}
	for _, change := range more {
		change(&s)
	}
	require.NoError(t, w.AuthServers().Register(context.Background(), s))
	w.awaitKeys(t)
}

// awaitKeys waits until the first fetch of each server has ended, one way or the other.
func (w *world) awaitKeys(t testing.TB) {
	t.Helper()
	awaitTrue(t, "the keys", func() bool {
		all, err := w.AuthServers().Describe(context.Background())
		require.NoError(t, err)
		for _, s := range all {
			if s.Keys == 0 && s.Problem == "" {
				return false
			}
		}
		return true
	})
}

func newRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// rsaJWK is the public half as providers publish it.
func rsaJWK(key *rsa.PrivateKey, more object) object {
	k := object{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
	for name, value := range more {
		k[name] = value
	}
	return k
}

// signed makes a token. Headers and claims that are nil are left out.
func signed(t testing.TB, method jwt.SigningMethod, key crypto.PrivateKey, header, claims object) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
		if value == nil {
			delete(token.Header, name)
		}
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

// with returns claims with some others.
func with(claims, more object) object {
	all := object{}
	for _, part := range []object{claims, more} {
		for name, value := range part {
			all[name] = value
			if value == nil {
				delete(all, name)
			}
		}
	}
	return all
}

const (
	cognitoIssuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf"
	cognitoKID    = "kL3+9Zd/0GqA7Xc5tq2vJv1oT5h8=" // not base64url
	azureIssuer   = "https://login.microsoftonline.com/5f1a7d4e-0000-4000-8000-000000000001/v2.0"
	azureKID      = "MGLqj98VNLoXaFfpJCBpgB4JaKs"
)

// cognito are the claims of a token of the client-credentials grant.
func cognito(now time.Time) object {
	return object{"sub": "4b2k8example", "token_use": "access", "scope": "dcv-session-manager/sm_scope other/x", "auth_time": now.Unix(),
		"iss": cognitoIssuer, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "version": 2, "jti": "1", "client_id": "4b2k8example"}
}

func azure(now time.Time) object {
	return object{"aud": "api://dcv", "iss": azureIssuer, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "aio": "E2Zg",
		"azp": "11111111-2222-4333-8444-555555555555", "azpacr": "1", "oid": "o", "rh": "r", "roles": []string{"Sessions.Manage"}, "sub": "o",
		"tid": "5f1a7d4e-0000-4000-8000-000000000001", "uti": "u", "ver": "2.0"}
}

func (w *world) principal(token string) (oauth.Principal, error) {
	return w.Authorize([]byte("Bearer " + token))
}
