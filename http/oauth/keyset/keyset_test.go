package keyset_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/oauth/keyset"
)

// Each key has one algorithm: its own, the one that was registered, or what its type says.
func TestSet_EachKeyHasOneAlgorithm(t *testing.T) {
	t.Parallel()
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rs := &rsaKey().PublicKey
	server := newServer(t, public(rs, "cognito+base64=", object{"alg": "RS256", "use": "sig"}), public(rs, "azure", object{"use": "sig", "x5t": "azure", "x5c": []string{"no certificate"}}),
		public(rs, "pss", object{"alg": "PS512"}), public(newEC(t, elliptic.P256()), "p256"), public(newEC(t, elliptic.P384()), "p384", object{"key_ops": []string{"verify"}}),
		public(newEC(t, elliptic.P521()), "p521", object{"alg": "ES512"}), public(ed, "ed", object{"alg": "EdDSA"}))
	f := follow(t, server, "")
	for id, algorithm := range map[string]string{
		"cognito+base64=": "RS256", "azure": "RS256", "pss": "PS512", "p256": "ES256", "p384": "ES384", "p521": "ES512", "ed": "EdDSA",
	} {
		require.Len(t, f.Find(id, algorithm), 1, id)
		for _, other := range []string{"none", "HS256", "RS384", "ES256K", ""} {
			require.Empty(t, f.Find(id, other), id)
		}
	}
	require.Equal(t, 7, f.Status().Keys)

	only := follow(t, server, "RS256") // what was registered is the only one
	require.Equal(t, 2, only.Status().Keys)
	require.Empty(t, only.Find("pss", "PS512"))
	pss := follow(t, server, "PS256")
	require.Len(t, pss.Find("azure", "PS256"), 1)
	require.Empty(t, pss.Find("azure", "RS256"))
}

// A token without a key id fits if there is no choice.
func TestSet_TokensWithoutAKeyID(t *testing.T) {
	t.Parallel()
	f := follow(t, newServer(t, public(newEC(t, elliptic.P256()), ""), public(&rsaKey().PublicKey, "a"), public(newEC(t, elliptic.P384()), "b"), public(newEC(t, elliptic.P384()), "c")), "")
	require.Len(t, f.Find("", "ES256"), 1)
	require.Len(t, f.Find("", "RS256"), 1)
	require.Empty(t, f.Find("", "ES384"))
}

// Keys that cannot verify a token, or should not, are passed over; the rest counts.
func TestSet_PassesOverUnusableKeys(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	rs := &rsaKey().PublicKey
	ec := public(newEC(t, elliptic.P256()), "off the curve")
	ec["y"] = ec["x"]
	server := newServer(t,
		public(rs, "good"),
		object{"kty": "oct", "kid": "symmetric", "k": encode([]byte("secret of thirty-two bytes length")), "alg": "HS256"},
		public(rs, "for encryption", object{"use": "enc"}),
		public(rs, "no verifying", object{"key_ops": []string{"encrypt"}}),
		public(rs, "hmac", object{"alg": "HS256"}),
		public(rs, "none", object{"alg": "none"}),
		public(rs, "other family", object{"alg": "ES256"}),
		public(&small.PublicKey, "too small"),
		public(rs, "huge exponent", object{"e": encode(bytes.Repeat([]byte{255}, 5000))}),
		public(rs, "exponent cut to 65537", object{"e": encode([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})}),
		public(rs, "exponent 1", object{"e": "AQ"}),
		public(rs, "even exponent", object{"e": "Ag"}),
		public(rs, "huge modulus", object{"n": encode(bytes.Repeat([]byte{255}, 4096))}),
		public(rs, "no number", object{"n": "!!!"}),
		public(rs, strings.Repeat("k", 2000)),
		public(rs, "x", object{"kid": 17}),
		public(rs, "y", object{"key_ops": "verify"}),
		object{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "curve"},
		object{"kty": "OKP", "crv": "X25519", "x": encode(make([]byte, 32)), "kid": "exchange"},
		ec, object{}, object{"kty": "AKP"},
	)
	f := follow(t, server, "")
	require.Equal(t, 1, f.Status().Keys)
	require.Len(t, f.Find("good", "RS256"), 1)
}

// F22: whatever a server does, it costs bounded time and memory, and the keys that it
// had count on; once it is well, new ones come.
func TestSet_HostileServers(t *testing.T) {
	t.Parallel()
	var redirected, written atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Add(1) }))
	t.Cleanup(target.Close)
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	ten := make([]string, 10_000)
	for i := range ten {
		ten[i] = fmt.Sprintf(`{"kty":"oct","kid":"%d"}`, i)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"stalls": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "did not answer"},
		"stalls in the body": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[`))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "did not answer"},
		"drips": {func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				<-tick.C
			}
		}, "did not answer"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target.URL+"/.well-known/jwks.json", http.StatusFound)
		}, "status 302"},
		"is out of order": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "status 500"},
		"sends a gigabyte": {func(w http.ResponseWriter, _ *http.Request) {
			block := bytes.Repeat([]byte(" "), 64<<10)
			for range 16 << 10 {
				n, err := w.Write(block)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}, "larger than"},
		"sends a huge header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			_, _ = w.Write([]byte("{}"))
		}, "cannot be reached"},
		"hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}, "cannot be reached"},
		"talks nonsense":      {text("<html>\x00\xff"), "no JSON Web Key Set"},
		"sends a list":        {text("[]"), "no JSON Web Key Set"},
		"nests deeply":        {text(`{"keys":[` + strings.Repeat(`[`, 200_000)), "no JSON Web Key Set"},
		"sends no keys":       {text(`{"keys":[]}`), "no key that can verify"},
		"sends other content": {text(`{"issuer":"https://auth.example.com"}`), "no key that can verify"},
		"sends 10,000 keys":   {text(`{"keys":[` + strings.Join(ten, ",") + `]}`), "more than 100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, public(&rsaKey().PublicKey, "old"))
			f := follow(t, server, "")
			server.says(c.answer)
			f.again(t)
			require.Contains(t, f.Status().Problem, c.want)
			require.Len(t, f.Find("old", "RS256"), 1, "its keys count on")
			require.False(t, f.Find("old", "RS256")[0].Dropped())
			server.publish(public(&rsaKey().PublicKey, "new"))
			f.again(t)
			require.Empty(t, f.Status().Problem)
			require.Len(t, f.Find("new", "RS256"), 1)
		})
	}
	t.Cleanup(func() {
		require.Zero(t, redirected.Load(), "redirects are not followed")
		require.Less(t, written.Load(), int64(256<<20), "nobody reads on")
	})
}

// A key that is replaced under the same id, or withdrawn, counts no more.
func TestSet_SwappedAndWithdrawnKeys(t *testing.T) {
	t.Parallel()
	server := newServer(t, public(newEC(t, elliptic.P256()), "a"), public(&rsaKey().PublicKey, "stays"), public(&rsaKey().PublicKey, "goes"))
	f := follow(t, server, "")
	before, stays, goes := f.Find("a", "ES256")[0], f.Find("stays", "RS256")[0], f.Find("goes", "RS256")[0]
	server.publish(public(newEC(t, elliptic.P256()), "a"), public(&rsaKey().PublicKey, "stays"))
	f.again(t)
	require.True(t, before.Dropped())
	require.True(t, goes.Dropped())
	require.False(t, stays.Dropped(), "tokens of it need not be checked again")
	require.NotSame(t, before, f.Find("a", "ES256")[0])
	f.Set.Close()
	require.True(t, stays.Dropped())
	require.True(t, f.Empty())
	require.Nil(t, f.Demand())
}

// F22: keys count on for a day while the server is away, and no longer.
func TestSet_OldKeysEnd(t *testing.T) {
	t.Parallel()
	server := newServer(t, public(&rsaKey().PublicKey, "a"))
	f := follow(t, server, "")
	key := f.Find("a", "RS256")[0]
	server.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	f.clock.forward(23 * time.Hour)
	f.again(t)
	require.Len(t, f.Find("a", "RS256"), 1)
	f.clock.forward(time.Hour)
	require.Empty(t, f.Find("a", "RS256"))
	require.True(t, f.Empty())
	require.True(t, key.Dropped())
	server.publish(public(&rsaKey().PublicKey, "a"))
	f.again(t)
	require.False(t, f.Find("a", "RS256")[0].Dropped())
}

// A flood of tokens with invented keys asks the server once in ten seconds, after the
// first few.
func TestSet_DemandIsRare(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := newServer(t)
	server.says(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write([]byte(`{"keys":[]}`))
	})
	f := &subject{clock: &clock{now: time.Unix(1_800_000_000, 0)}, server: server}
	f.Set = keyset.New(keyset.Config{URL: server.URL, Client: keyset.NewClient(nil), Logger: slog.New(slog.DiscardHandler), Now: f.clock.Now})
	t.Cleanup(f.Set.Close)
	var waiting sync.WaitGroup
	for range 100 {
		waiting.Go(func() {
			if done := f.Demand(); done != nil {
				<-done
			}
		})
	}
	close(release)
	waiting.Wait()
	require.LessOrEqual(t, server.asked.Load(), int64(5))
	f.fetched(t)
	for range 1000 {
		require.Nil(t, f.Demand())
	}
	require.EqualValues(t, 5, server.asked.Load())
	f.again(t)
	require.EqualValues(t, 6, server.asked.Load())
}

// Without any token the keys are fetched again, less often while that fails.
func TestSet_RefreshesByItself(t *testing.T) {
	t.Parallel()
	server := newServer(t, public(&rsaKey().PublicKey, "a"))
	f := follow(t, server, "")
	require.False(t, f.Refresh())
	f.clock.forward(11 * time.Minute)
	require.True(t, f.Refresh())
	f.fetched(t)
	require.False(t, f.Refresh())
	server.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	f.clock.forward(11 * time.Minute)
	require.True(t, f.Refresh())
	f.fetched(t)
	require.False(t, f.Refresh())
	f.clock.forward(6 * time.Minute)
	require.True(t, f.Refresh(), "sooner after a failure")
	f.fetched(t)
	require.NotContains(t, f.Status().Problem, "\n")
}

// The certificate is checked: against the machine's list, or the CA that was named.
func TestSet_ChecksTheCertificate(t *testing.T) {
	t.Parallel()
	tlsServer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":%q}]}`, encode(make([]byte, 32)))
	}))
	t.Cleanup(tlsServer.Close)
	tlsServer.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	roots := x509.NewCertPool()
	roots.AddCert(tlsServer.Certificate())
	for want, pool := range map[string]*x509.CertPool{"": roots, "the server's certificate is not trusted": nil} {
		s := keyset.New(keyset.Config{URL: tlsServer.URL, Client: keyset.NewClient(pool), Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		t.Cleanup(s.Close)
		if done := s.Demand(); done != nil {
			<-done
		}
		require.Equal(t, want, s.Status().Problem)
	}
}
