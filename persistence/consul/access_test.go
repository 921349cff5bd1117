package consul

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul/consultest"
)

const (
	management = "7a1ab0f4-9a4c-4f0e-8a6e-2f2f3c0c7d10"
	readOnly   = "7a1ab0f4-9a4c-4f0e-8a6e-2f2f3c0c7d11"
	writing    = "7a1ab0f4-9a4c-4f0e-8a6e-2f2f3c0c7d12"
)

// A token that may not is never taken for a record that is not there.
func TestACL_WhatIsDeniedIsUnavailableAndSaysWhy(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.Options{Token: management})
	makeToken(t, server, readOnly, `key_prefix "dcv-session-manager/" { policy = "read" }`)
	makeToken(t, server, writing, `key_prefix "dcv-session-manager/" { policy = "write" }`)
	with := func(token string) *Store {
		return openAt(t, Config{Addresses: []string{server.Address()}, Token: token})
	}

	full := with(writing)
	kept := record("a", 0, "kept")
	kept.Version = save(t, full, kept)
	requireRecord(t, full, kept)
	page, err := full.Scan(t.Context(), "thing", "", 10)
	require.NoError(t, err)
	require.Equal(t, []persistence.Record{kept}, page)

	reader := with(readOnly)
	requireRecord(t, reader, kept)
	requireDenied(t, errOf(reader.Save(t.Context(), kept)))
	requireDenied(t, reader.Delete(t.Context(), kept.Key, kept.Version))

	for name, token := range map[string]string{"no token": "", "an unknown token": "7a1ab0f4-9a4c-4f0e-8a6e-2f2f3c0c7d99"} {
		s := with(token)
		requireDenied(t, errOf(s.Load(t.Context(), kept.Key)), name)
		requireDenied(t, errOf(s.Load(t.Context(), record("absent", 0, "").Key)), name)
		requireDenied(t, errOf(s.Scan(t.Context(), "thing", "", 10)), name)
		requireDenied(t, errOf(s.Save(t.Context(), kept)), name)
		requireDenied(t, s.Delete(t.Context(), kept.Key, kept.Version), name)
		for _, r := range s.Apply(t.Context(), []persistence.Op{put("b", 0, "x"), remove("a", kept.Version)}) {
			requireDenied(t, r.Err, name)
		}
	}
	requireRecord(t, full, kept)
}

func errOf[T any](_ T, err error) error { return err }

func requireDenied(t *testing.T, err error, name ...any) {
	t.Helper()
	require.ErrorIs(t, err, persistence.ErrUnavailable, name...)
	require.ErrorContains(t, err, "ACL token", name...)
	require.NotContains(t, err.Error(), "7a1ab0f4", "a secret in an error")
}

func makeToken(t *testing.T, server *consultest.Server, secret, rules string) {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: server.Address(), Token: management})
	require.NoError(t, err)
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "p-" + secret, Rules: rules}, nil)
	require.NoError(t, err)
	_, _, err = client.ACL().TokenCreate(&api.ACLToken{SecretID: secret, Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	require.NoError(t, err)
}

// A Consul that cannot prove who it is gets no record.
func TestTLS_OnlyTheRightAuthorityIsTrusted(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ours, theirs := makeAuthority(t, folder, "ours"), makeAuthority(t, folder, "theirs")
	server := consultest.Start(t, consultest.Options{CAFile: ours.ca, CertFile: ours.cert, KeyFile: ours.key})
	at := []string{server.Address()}

	good := openAt(t, Config{Addresses: at, TLS: TLS{CAFile: ours.ca}})
	version := save(t, good, record("a", 0, "x"))
	requireRecord(t, good, record("a", version, "x"))
	named := openAt(t, Config{Addresses: at, TLS: TLS{CAFile: ours.ca, ServerName: "consul.test"}})
	requireRecord(t, named, record("a", version, "x"))

	for name, cfg := range map[string]Config{
		"another authority": {Addresses: at, TLS: TLS{CAFile: theirs.ca}},
		"the system's":      {Addresses: []string{"https://" + server.Address()}},
		"another name":      {Addresses: at, TLS: TLS{CAFile: ours.ca, ServerName: "other.test"}},
		"no TLS":            {Addresses: []string{"http://" + server.Address()}},
	} {
		s := openAt(t, cfg)
		_, err := s.Save(t.Context(), record("b", 0, "x"))
		require.ErrorIs(t, err, persistence.ErrUnavailable, name)
		_, err = s.Load(t.Context(), record("a", 0, "").Key)
		require.ErrorIs(t, err, persistence.ErrUnavailable, name)
	}
}

type authority struct{ ca, cert, key string }

// makeAuthority writes an authority and a certificate of it for 127.0.0.1.
func makeAuthority(t *testing.T, folder, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "consul"}, DNSNames: []string{"consul.test"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	file := func(kind, block string, der []byte, err error) string {
		require.NoError(t, err)
		path := filepath.Join(folder, name+"-"+kind+".pem")
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), 0o600))
		return path
	}
	ca, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	caFile := file("ca", "CERTIFICATE", ca, err)
	cert, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	certFile := file("cert", "CERTIFICATE", cert, err)
	der, err := x509.MarshalECPrivateKey(key)
	return authority{caFile, certFile, file("key", "EC PRIVATE KEY", der, err)}
}
