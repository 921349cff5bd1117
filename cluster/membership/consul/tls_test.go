//go:build fleet

package consul_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cluster/membership/consul"
	"opensessionmanager/persistence/consul/consultest"
)

// selfSigned writes a certificate for 127.0.0.1, its own authority, and its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return cert, key
}

func TestConsul_OverTLS(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	server := consultest.Start(t, consultest.Options{CAFile: cert, CertFile: cert, KeyFile: key})
	cfg := config(t, server.Address())
	cfg.TLS = consul.TLS{CAFile: cert}
	all := start(t, cfg, "a", "b")
	sizes(t, 2, all)
	contact(t, all)

	cfg.TLS.CAFile, _ = selfSigned(t) // not the one that Consul's is of
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.ErrorContains(t, open(t, cfg).Join(ctx, member("c"), alive), "x509")
}
