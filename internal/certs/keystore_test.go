package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"opensessionmanager/internal/certs"
)

const secret = "dcvsm1-s3cret"

// material is what an operator has: a key, its certificate and the CA above it.
type material struct {
	key  crypto.Signer
	leaf *x509.Certificate
	ca   *x509.Certificate
}

func newMaterial(t testing.TB, key crypto.Signer) material {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := func(serial int64, isCA bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"broker.example.com"}, IsCA: isCA, BasicConstraintsValid: true,
		}
	}
	ca := selfSigned(t, template(1, true), template(1, true), caKey.Public(), caKey)
	return material{key, selfSigned(t, template(2, false), ca, key.Public(), caKey), ca}
}

func selfSigned(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (m material) pkcs8(t testing.TB) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(m.key)
	require.NoError(t, err)
	return der
}

func (m material) pemCerts() []byte {
	return append(block("CERTIFICATE", m.leaf.Raw), block("CERTIFICATE", m.ca.Raw)...)
}

func (m material) pemKey(t testing.TB) []byte { return block("PRIVATE KEY", m.pkcs8(t)) }

func (m material) pkcs12(t testing.TB, encoder *pkcs12.Encoder) []byte {
	data, err := encoder.Encode(m.key, m.leaf, []*x509.Certificate{m.ca}, secret)
	require.NoError(t, err)
	return data
}

func (m material) jks(t testing.TB) []byte {
	store := keystore.New()
	certificate := func(c *x509.Certificate) keystore.Certificate {
		return keystore.Certificate{Type: "X.509", Content: c.Raw}
	}
	require.NoError(t, store.SetTrustedCertificateEntry("a-ca", keystore.TrustedCertificateEntry{Certificate: certificate(m.ca)}))
	require.NoError(t, store.SetPrivateKeyEntry("broker", keystore.PrivateKeyEntry{
		PrivateKey:       m.pkcs8(t),
		CertificateChain: []keystore.Certificate{certificate(m.leaf), certificate(m.ca)},
	}, []byte(secret)))
	var data bytes.Buffer
	require.NoError(t, store.Store(&data, []byte(secret)))
	return data.Bytes()
}

// stores are key stores of one material in every format.
func (m material) stores(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"PEM":           append(m.pemCerts(), m.pemKey(t)...),
		"PEM key first": append(m.pemKey(t), m.pemCerts()...),
		"PKCS12 modern": m.pkcs12(t, pkcs12.Modern),
		"PKCS12 legacy": m.pkcs12(t, pkcs12.LegacyDES),
		"JKS":           m.jks(t),
	}
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func requireMaterial(t testing.TB, want material, got tls.Certificate, of string) {
	t.Helper()
	require.True(t, want.leaf.Equal(got.Leaf), of)
	require.Equal(t, [][]byte{want.leaf.Raw, want.ca.Raw}, got.Certificate, of)
	require.Equal(t, want.key.Public(), got.PrivateKey.(crypto.Signer).Public(), of)
}

func TestLoadKeyStore_TellsTheFormatByItsContent(t *testing.T) {
	t.Parallel()
	m := newMaterial(t, ecKey(t))
	for name, data := range m.stores(t) {
		got, err := certs.LoadKeyStore(write(t, data), secret)
		require.NoError(t, err, name)
		requireMaterial(t, m, got, name)
	}
}

func TestLoadKeyStore_TakesPEMInTwoFiles(t *testing.T) {
	t.Parallel()
	m := newMaterial(t, ecKey(t))
	path := write(t, bytes.TrimSpace(m.pemCerts())) + ", " + write(t, m.pemKey(t))
	got, err := certs.LoadKeyStore(path, "")
	require.NoError(t, err)
	requireMaterial(t, m, got, path)
}

func TestLoadKeyStore_TakesAllSortsOfKeys(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec := ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		key  crypto.Signer
		pem  []byte // nil: PKCS8
	}{
		{"RSA PKCS8", rsaKey, nil},
		{"RSA PKCS1", rsaKey, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		{"EC SEC1", ec, block("EC PRIVATE KEY", sec1)},
		{"Ed25519", edKey, nil},
	} {
		m := newMaterial(t, c.key)
		if c.pem == nil {
			c.pem = m.pemKey(t)
		}
		got, err := certs.LoadKeyStore(write(t, append(c.pem, m.pemCerts()...)), "")
		require.NoError(t, err, c.name)
		requireMaterial(t, m, got, c.name)
	}
}

func TestLoadKeyStore_PutsTheCertificateOfTheKeyFirst(t *testing.T) {
	t.Parallel()
	m := newMaterial(t, ecKey(t))
	reversed := bytes.Join([][]byte{block("CERTIFICATE", m.ca.Raw), block("CERTIFICATE", m.leaf.Raw), m.pemKey(t)}, nil)
	got, err := certs.LoadKeyStore(write(t, reversed), "")
	require.NoError(t, err)
	requireMaterial(t, m, got, "reversed")
}

func TestLoadKeyStore_AWrongPasswordIsSaidWithoutIt(t *testing.T) {
	t.Parallel()
	const wrong = "hunter2-wrong"
	for name, data := range newMaterial(t, ecKey(t)).stores(t) {
		if strings.HasPrefix(name, "PEM") {
			continue
		}
		_, err := certs.LoadKeyStore(write(t, data), wrong)
		require.ErrorIs(t, err, certs.ErrPassword, name)
		require.NotContains(t, err.Error(), wrong)
		require.NotContains(t, err.Error(), secret)
		_, err = certs.LoadKeyStore(write(t, data), "")
		require.ErrorIs(t, err, certs.ErrPassword, name)
	}
}

func TestLoadKeyStore_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	m, other := newMaterial(t, ecKey(t)), newMaterial(t, ecKey(t))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for want, data := range map[string][]byte{
		"neither PEM nor PKCS12 nor JKS": []byte("hello"),
		"has no private key":             m.pemCerts(),
		"none of its 2 certificates":     join(m.pemCerts(), other.pemKey(t)),
		"none of its 0 certificates":     m.pemKey(t),
		"more than one private key":      join(m.pemCerts(), m.pemKey(t), other.pemKey(t)),
		"more than 500 certificates":     bytes.Repeat(m.pemCerts(), 251),
		"private key is encrypted":       join(m.pemCerts(), block("ENCRYPTED PRIVATE KEY", []byte("x"))),
		"private key cannot be parsed":   join(m.pemCerts(), block("PRIVATE KEY", []byte("x"))),
		"malformed":                      join(block("CERTIFICATE", []byte("x")), m.pemKey(t)),
		"JCEKS is not supported":         {0xce, 0xce, 0xce, 0xce, 0, 0, 0, 2},
		"is larger than 1048576 bytes":   make([]byte, 1<<20+1),
	} {
		_, err := certs.LoadKeyStore(write(t, data), secret)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "certs: ")
	}
	_, err := certs.LoadKeyStore(filepath.Join(t.TempDir(), "absent"), secret)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = certs.LoadKeyStore(t.TempDir(), secret)
	require.ErrorContains(t, err, "is not a file")
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err = certs.LoadKeyStore(pipe, secret)
	require.ErrorContains(t, err, "is not a file")
}

func TestLoadKeyStore_ACutOffFileIsAnError(t *testing.T) {
	t.Parallel()
	for name, data := range newMaterial(t, ecKey(t)).stores(t) {
		if strings.HasPrefix(name, "PKCS12") {
			data = data[:len(data)-1] // a DER sequence knows its length at once
		}
		path := filepath.Join(t.TempDir(), "store")
		for size := 0; size < len(data)-2; size += 1 + len(data)/40 {
			if bytes.Count(data[:size], []byte("-----BEGIN ")) == bytes.Count(data[:size], []byte("-----\n"))/2 && size > 0 && strings.HasPrefix(name, "PEM") {
				continue // whole blocks of PEM: nobody can tell
			}
			require.NoError(t, os.WriteFile(path, data[:size], 0o600))
			_, err := certs.LoadKeyStore(path, secret)
			require.Error(t, err, "%s cut off at %d of %d", name, size, len(data))
		}
	}
}

// Lengths that ask for gigabytes are refused before anything is allocated.
func TestLoadKeyStore_AJKSThatLiesAboutLengthsIsRefused(t *testing.T) {
	t.Parallel()
	header := []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1}
	entry := append(append([]byte(nil), header...), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	digest := make([]byte, 20)
	for _, data := range [][]byte{
		append(append([]byte(nil), entry...), 0xff, 0xff, 0xff, 0xff),                                // key
		append(append(append([]byte(nil), entry...), 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), digest...), // certificates
		append(append(append([]byte(nil), header[:8]...), 0xff, 0xff, 0xff, 0xff), digest...),        // entries
		append(append([]byte(nil), header...), 0, 0, 0, 2, 0xff, 0xff),                               // alias
	} {
		_, err := certs.LoadKeyStore(write(t, data), secret)
		require.ErrorContains(t, err, "it is damaged")
	}
}

// A count of iterations that would keep a processor busy for days is refused.
func TestLoadKeyStore_APKCS12ThatAsksForTooMuchWorkIsRefused(t *testing.T) {
	t.Parallel()
	m := newMaterial(t, ecKey(t))
	for name, encoder := range map[string]*pkcs12.Encoder{"modern": pkcs12.Modern, "legacy": pkcs12.LegacyDES} {
		const count = 65_537 // findable: integers 02 03 01 00 01
		data := m.pkcs12(t, encoder.WithIterations(count))
		mark := append([]byte{2, 3}, binary.BigEndian.AppendUint32(nil, count)[1:]...)
		require.Contains(t, string(data), string(mark))
		data = bytes.ReplaceAll(data, mark, []byte{2, 3, 0x7f, 0xff, 0xff})
		_, err := certs.LoadKeyStore(write(t, data), secret)
		require.ErrorContains(t, err, "too much work", name)
	}
}

func TestLoadTrustStore_ReadsAllFormats(t *testing.T) {
	t.Parallel()
	m := newMaterial(t, ecKey(t))
	p12, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{m.ca}, secret)
	require.NoError(t, err)
	for name, data := range map[string][]byte{"PEM": block("CERTIFICATE", m.ca.Raw), "PKCS12": p12, "JKS": m.jks(t)} {
		pool, err := certs.LoadTrustStore(write(t, data), secret)
		require.NoError(t, err, name)
		_, err = m.leaf.Verify(x509.VerifyOptions{Roots: pool})
		require.NoError(t, err, name)
	}
	_, err = certs.LoadTrustStore(write(t, p12), "wrong")
	require.ErrorIs(t, err, certs.ErrPassword)
	_, err = certs.LoadTrustStore(write(t, m.pemKey(t)), "")
	require.ErrorContains(t, err, "no trusted certificate")
}

// F38, for an operator's key store: a new one is taken, a bad one is not.
func TestKeyStore_IsReloadedAndABadOneKeepsTheOld(t *testing.T) {
	t.Parallel()
	one, two := newMaterial(t, ecKey(t)), newMaterial(t, ecKey(t))
	path := write(t, one.jks(t))
	live := follow(t, certs.KeyStore(path, secret))
	first := current(t, live)
	requireMaterial(t, one, *first, "at first")
	require.NoError(t, live.Refresh())
	require.Same(t, first, current(t, live), "unchanged files are not opened again")

	for _, bad := range [][]byte{nil, []byte("garbage"), two.jks(t)[:100]} {
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		require.Error(t, live.Refresh())
		require.Same(t, first, current(t, live))
	}
	require.NoError(t, os.Remove(path))
	require.Error(t, live.Refresh())
	require.Same(t, first, current(t, live))

	require.NoError(t, os.WriteFile(path, two.pkcs12(t, pkcs12.Modern), 0o600))
	require.NoError(t, live.Refresh())
	requireMaterial(t, two, *current(t, live), "after the swap, and in another format")
}
