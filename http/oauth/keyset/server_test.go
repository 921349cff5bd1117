package keyset_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/http/oauth/keyset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

// server is an authorization server whose answer can be changed.
type server struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newServer(t testing.TB, keys ...object) *server {
	t.Helper()
	s := &server{}
	s.publish(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) says(answer http.HandlerFunc) { s.answer.Store(&answer) }

func (s *server) publish(keys ...object) {
	s.says(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(object{"keys": keys}) })
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// subject is a Set with its clock and server.
type subject struct {
	*keyset.Set
	clock  *clock
	server *server
}

func follow(t testing.TB, s *server, algorithm string) *subject {
	t.Helper()
	f := &subject{clock: &clock{now: time.Unix(1_800_000_000, 0)}, server: s}
	f.Set = keyset.New(keyset.Config{URL: s.URL + "/.well-known/jwks.json", Algorithm: algorithm,
		Client: keyset.NewClient(nil), Logger: slog.New(slog.DiscardHandler), Now: f.clock.Now})
	t.Cleanup(f.Set.Close)
	f.fetched(t)
	return f
}

// fetched returns when no fetch runs, and none that a token asks for is allowed.
func (f *subject) fetched(t testing.TB) {
	t.Helper()
	for done := f.Demand(); done != nil; done = f.Demand() {
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("the fetch never ended")
		}
	}
}

// again fetches once more.
func (f *subject) again(t testing.TB) {
	t.Helper()
	f.clock.forward(11 * time.Second)
	require.NotNil(t, f.Demand(), "long enough after the last")
	f.fetched(t)
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// public writes a key as providers do.
func public(key crypto.PublicKey, id string, more ...object) object {
	var k object
	switch p := key.(type) {
	case *rsa.PublicKey:
		k = object{"kty": "RSA", "n": encode(p.N.Bytes()), "e": encode(big.NewInt(int64(p.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		k = object{"kty": "EC", "crv": p.Curve.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
	case ed25519.PublicKey:
		k = object{"kty": "OKP", "crv": "Ed25519", "x": encode(p)}
	}
	if id != "" {
		k["kid"] = id
	}
	for _, members := range more {
		for name, value := range members {
			k[name] = value
		}
	}
	return k
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return &key.PublicKey
}
