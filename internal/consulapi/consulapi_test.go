package consulapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseAddress_FillsInWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"consul":                "https://consul:8501",
		"consul:1":              "https://consul:1",
		"http://consul":         "http://consul:8500",
		"http://127.0.0.1:8500": "http://127.0.0.1:8500",
		"https://[::1]":         "https://[::1]:8501",
	} {
		where, err := ParseAddress(address, true)
		require.NoError(t, err)
		require.Equal(t, want, where.String())
	}
	where, err := ParseAddress("consul", false)
	require.NoError(t, err)
	require.Equal(t, "http://consul:8500", where.String())
}

func TestConnect_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, access := range map[string]Access{
		"address with a path":   {Addresses: []string{"http://consul:8500/v1"}},
		"address with a secret": {Addresses: []string{"http://user:secret@consul:8500"}},
		"address of a socket":   {Addresses: []string{"unix:///run/consul"}},
		"address without host":  {Addresses: []string{"http://"}},
		"one of several":        {Addresses: []string{"consul:8500", "consul:port"}},
		"no such CA":            {TLS: TLS{CAFile: "absent.pem"}},
		"certificate, no key":   {TLS: TLS{CertFile: "cert.pem"}},
	} {
		_, err := Connect(access, NewTransport(time.Second), func(r http.RoundTripper) http.RoundTripper { return r })
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

func TestAgents_TheOneThatAnsweredIsAskedFirst(t *testing.T) {
	t.Parallel()
	a, err := Connect(Access{Addresses: []string{"a", "b", "c"}}, NewTransport(time.Second), func(r http.RoundTripper) http.RoundTripper { return r })
	require.NoError(t, err)
	require.Equal(t, 3, a.Len())
	require.Zero(t, a.First())
	a.Failed(0)
	a.Failed(0) // two calls failed at once
	require.Equal(t, 1, a.First())
	a.Answered(2)
	require.Equal(t, 2, a.First())
	a.Failed(2)
	require.Zero(t, a.First())
	require.Same(t, a.Client(1), a.Client(4))
}

// The token is for Consul, and for nobody it might point to.
func TestConnect_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token left") }))
	defer elsewhere.Close()
	consul := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer consul.Close()
	a, err := Connect(Access{Addresses: []string{consul.URL}, Token: "t"}, NewTransport(time.Second), func(r http.RoundTripper) http.RoundTripper { return r })
	require.NoError(t, err)
	defer a.Close()
	_, err = a.Client(0).Status().Leader()
	require.Error(t, err)
}

// The authority of Consul's certificate is replaced while a broker runs; a file that is
// half written changes nothing.
func TestConnect_FollowsItsFiles(t *testing.T) {
	t.Parallel()
	consul := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`"here"`)) }))
	consul.Config.ErrorLog = log.New(io.Discard, "", 0)
	consul.StartTLS()
	defer consul.Close()
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: consul.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(data []byte) { require.NoError(t, os.WriteFile(file, data, 0o600)) }
	write(stranger(t))
	a, err := Connect(Access{Addresses: []string{consul.URL}, TLS: TLS{CAFile: file}}, NewTransport(time.Minute),
		func(r http.RoundTripper) http.RoundTripper { return r })
	require.NoError(t, err)
	defer a.Close()
	ask := func() error {
		a.Close() // the next call has a connection of its own
		_, err := a.Client(0).Status().Leader()
		return err
	}
	require.ErrorContains(t, ask(), "certificate")
	for _, data := range [][]byte{good, good[:len(good)/2], {}, good} {
		write(data)
		require.NoError(t, ask())
	}
	write(stranger(t))
	require.ErrorContains(t, ask(), "certificate")
}

// stranger is the certificate of an authority that nobody knows.
func stranger(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
