package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// keyServer is an authorization server with a certificate that no machine knows.
type keyServer struct {
	*httptest.Server
	private ed25519.PrivateKey
	caFile  string
}

func startKeyServer(t *testing.T) *keyServer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	s := &keyServer{private: private, caFile: filepath.Join(t.TempDir(), "ca.pem")}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(s.caFile, ca, 0o600))
	return s
}

func (s *keyServer) jwks() string { return s.URL + "/.well-known/jwks.json" }

func (s *keyServer) token(t *testing.T) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "portal", "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = "a"
	text, err := token.SignedString(s.private)
	require.NoError(t, err)
	return text
}

// C16, C25: auth-server-ca-file. A server with a certificate of another CA has no say:
// its tokens are 503, since its keys were never seen, and not 200.
func TestAuthServer_ItsCertificateIsChecked(t *testing.T) {
	t.Parallel()
	server := startKeyServer(t)
	trusting, other := newBroker(t, "auth-server-ca-file = "+server.caFile), newBroker(t)
	for _, b := range []*broker{trusting, other} {
		b.start()
		b.admin("register-auth-server", "--url", server.jwks())
	}
	await(t, "the keys", trusting.as(server.token(t)).served)
	other.as(server.token(t)).refused(http.MethodPost, "/describeSessions", nil, http.StatusServiceUnavailable)
	require.Contains(t, other.admin("list-auth-servers", "--output", "json"), "certificate is not trusted")
	require.Contains(t, trusting.admin("list-auth-servers", "--output", "json"), `"keys": 1`)
	wrong := newBroker(t, "auth-server-ca-file = "+trusting.file)
	o := wrong.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "holds no certificate")
}

// F33: two Authorization headers are 401 at the real port, whichever of them is good.
func TestAuthorization_DoubledHeaders(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	good := "Bearer " + b.api.token
	for _, headers := range [][]string{{good, good}, {good, "Bearer x"}, {"Bearer x", good}, {good, ""}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url()+"/describeSessions", nil)
		require.NoError(t, err)
		request.Header["Authorization"] = headers
		a, err := b.anybody.exchange(request, "/describeSessions")
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, a.status, "%s", a.body)
	}
	require.NoError(t, b.api.served())
	ids, err := b.publishedKeys()
	require.NoError(t, err)
	require.Len(t, ids, 1)
}
