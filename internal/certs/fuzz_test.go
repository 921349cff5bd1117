package certs_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"opensessionmanager/internal/certs"
)

// FuzzKeyStore: whatever the file holds, the answer is a usable pair or an
// error, without a panic and in bounded memory. Run it with -fuzzminimizetime=200x:
// minimizing, which hardly works on signed and encrypted input, takes all the time otherwise.
func FuzzKeyStore(f *testing.F) {
	m := newMaterial(f, ecKey(f))
	stores := m.stores(f)
	// Few iterations, or fuzzing is mostly hashing of passwords.
	stores["PKCS12 modern"] = m.pkcs12(f, pkcs12.Modern.WithIterations(1))
	stores["PKCS12 legacy"] = m.pkcs12(f, pkcs12.LegacyDES.WithIterations(1))
	for _, data := range stores {
		f.Add(data, secret)
		f.Add(data, "wrong")
	}
	f.Add([]byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 0}, "")
	f.Add([]byte("-----BEGIN "), "")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		if c, err := certs.ParseKeyStore(data, password); err == nil {
			requireUsable(t, c)
		}
		_, _ = certs.ParseTrustStore(data, password)
	})
}

func requireUsable(t *testing.T, c *tls.Certificate) {
	require.NotNil(t, c.Leaf)
	key, chain, err := certs.EncodePEM(c)
	require.NoError(t, err)
	_, err = tls.X509KeyPair(chain, key)
	require.NoError(t, err)
}
