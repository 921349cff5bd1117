package certs_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"opensessionmanager/internal/certs"
)

var both = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}

// issued is a certificate that an operator made with a CA of theirs.
func issued(t testing.TB, by *certs.Authority, names []string, usage ...x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	c, err := by.Issue(names, usage...)
	require.NoError(t, err)
	return c
}

func pemStore(t testing.TB, c *tls.Certificate, more ...*x509.Certificate) []byte {
	t.Helper()
	key, chain, err := certs.EncodePEM(c)
	require.NoError(t, err)
	for _, m := range more {
		chain = append(chain, block("CERTIFICATE", m.Raw)...)
	}
	return append(key, chain...)
}

// brokerWith is a broker whose identity among brokers is in a file.
type brokerWith struct {
	file           string
	live           *certs.Live
	server, client *tls.Config
}

func brokerOf(t testing.TB, store []byte) brokerWith {
	t.Helper()
	b := brokerWith{file: write(t, store)}
	peers := certs.NewPeerStore(b.file, secret, time.Now)
	b.live = follow(t, peers.Certificate)
	b.server, b.client = peers.Server(b.live), peers.Client(b.live)
	return b
}

func requireTalk(t testing.TB, a, b brokerWith, what string) {
	t.Helper()
	require.NoError(t, greet(a.client, b.server), what)
	require.NoError(t, greet(b.client, a.server), what)
}

func requireRefused(t testing.TB, a, b brokerWith, why string) {
	t.Helper()
	require.ErrorContains(t, greet(a.client, b.server), why)
	require.ErrorContains(t, greet(b.client, a.server), why)
}

func TestPeerStore_BrokersOfOneAuthorityTalkWhateverTheFormat(t *testing.T) {
	t.Parallel()
	operator := newMachine(t).ensure(t)
	ca := operator.Certificate()
	names := []string{certs.PeerName, "b1.example.com"}
	one := brokerOf(t, pemStore(t, issued(t, operator, names, both...)))

	second := issued(t, operator, names, both...)
	p12, err := pkcs12.Modern.Encode(second.PrivateKey, second.Leaf, []*x509.Certificate{ca}, secret)
	require.NoError(t, err)
	requireTalk(t, one, brokerOf(t, p12), "PKCS12")

	third := material{ecKey(t), nil, ca}
	fresh := issued(t, operator, names, both...)
	third.key, third.leaf = fresh.PrivateKey.(crypto.Signer), fresh.Leaf
	requireTalk(t, one, brokerOf(t, third.jks(t)), "JKS")
}

func TestPeerStore_RefusesEverybodyElse(t *testing.T) {
	t.Parallel()
	operator, stranger := newMachine(t).ensure(t), newMachine(t).ensure(t)
	broker := brokerOf(t, pemStore(t, issued(t, operator, []string{certs.PeerName}, both...)))

	foreign := brokerOf(t, pemStore(t, issued(t, stranger, []string{certs.PeerName}, both...)))
	requireRefused(t, broker, foreign, "certificate signed by unknown authority")
	require.ErrorContains(t, greet(broker.client, foreign.server), stranger.Certificate().Subject.CommonName, "an operator has to find it")
	for name, other := range map[string]*tls.Certificate{
		"of the client port":  issued(t, operator, []string{"broker.example.com"}, x509.ExtKeyUsageServerAuth),
		"of another program":  issued(t, operator, []string{"web.example.com"}, both...),
		"of a client by name": issued(t, operator, []string{"fleet"}, both...),
		"none":                {},
	} {
		require.Error(t, greet(clientOf(other, broker.client), broker.server), "client with a certificate %s", name)
		require.Error(t, greet(broker.client, serverOf(other, broker.server)), "server with a certificate %s", name)
	}
	serverOnly := issued(t, operator, []string{certs.PeerName}, x509.ExtKeyUsageServerAuth)
	require.Error(t, greet(clientOf(serverOnly, broker.client), broker.server))
}

// One key store, made by keytool and copied to each broker, as the vendor's guide has it.
func TestPeerStore_TheSameCertificateIsEnough(t *testing.T) {
	t.Parallel()
	own := newMaterial(t, ecKey(t)) // without the name of brokers
	store := own.jks(t)
	requireTalk(t, brokerOf(t, store), brokerOf(t, store), "one certificate")
	sister := newMachine(t).ensure(t)
	alone := pemStore(t, &tls.Certificate{Certificate: [][]byte{own.leaf.Raw}, PrivateKey: own.key, Leaf: own.leaf})
	requireTalk(t, brokerOf(t, alone), brokerOf(t, alone), "without an authority in the store")
	requireRefused(t, brokerOf(t, alone), brokerOf(t, pemStore(t, issued(t, sister, []string{certs.PeerName}, both...))), "unknown authority")
}

// Renewal, and the change to another authority in three steps: all trust both, all have
// new certificates, all trust the new one only. No step refuses a broker that took the
// one before.
func TestPeerStore_FollowsItsFileFromOneAuthorityToAnother(t *testing.T) {
	t.Parallel()
	old, next := newMachine(t).ensure(t), newMachine(t).ensure(t)
	name := []string{certs.PeerName}
	before := issued(t, old, name, both...)
	a, b := brokerOf(t, pemStore(t, before)), brokerOf(t, pemStore(t, issued(t, old, name, both...)))
	step := func(what string, of brokerWith, store []byte) {
		require.NoError(t, os.WriteFile(of.file, store, 0o600))
		require.NoError(t, of.live.Refresh())
		requireTalk(t, a, b, what)
	}
	step("renewal", a, pemStore(t, issued(t, old, name, both...)))
	for _, each := range []brokerWith{a, b} {
		step("trust both", each, pemStore(t, before, next.Certificate()))
	}
	for _, each := range []brokerWith{a, b} {
		step("a new certificate", each, pemStore(t, issued(t, next, name, both...), old.Certificate()))
	}
	for _, each := range []brokerWith{a, b} {
		step("trust the new one", each, pemStore(t, issued(t, next, name, both...)))
	}
	requireRefused(t, a, brokerOf(t, pemStore(t, before)), "unknown authority")

	require.NoError(t, os.WriteFile(a.file, []byte("half a fi"), 0o600))
	require.Error(t, a.live.Refresh())
	requireTalk(t, a, b, "a file that cannot be read changes nothing")
}

// A trusted entry of a Java key store counts, though it is of no chain.
func TestPeerStore_TakesTrustedEntriesOfAJavaKeyStore(t *testing.T) {
	t.Parallel()
	ours, theirs := newMachine(t).ensure(t), newMachine(t).ensure(t)
	c := issued(t, ours, []string{certs.PeerName}, both...)
	key := material{key: c.PrivateKey.(crypto.Signer)}.pkcs8(t)
	store := keystore.New()
	certificate := func(der []byte) keystore.Certificate {
		return keystore.Certificate{Type: "X.509", Content: der}
	}
	require.NoError(t, store.SetTrustedCertificateEntry("theirs", keystore.TrustedCertificateEntry{Certificate: certificate(theirs.Certificate().Raw)}))
	require.NoError(t, store.SetPrivateKeyEntry("broker", keystore.PrivateKeyEntry{PrivateKey: key,
		CertificateChain: []keystore.Certificate{certificate(c.Leaf.Raw), certificate(ours.Certificate().Raw)}}, []byte(secret)))
	var data bytes.Buffer
	require.NoError(t, store.Store(&data, []byte(secret)))
	a := brokerOf(t, data.Bytes())
	requireTalk(t, a, brokerOf(t, pemStore(t, issued(t, theirs, []string{certs.PeerName}, both...), ours.Certificate())), "trusted entry")
	requireTalk(t, a, brokerOf(t, pemStore(t, issued(t, ours, []string{certs.PeerName}, both...))), "chain")
}

func TestPeerStore_ExpiredCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	operator := newMachine(t).ensure(t)
	file := write(t, pemStore(t, issued(t, operator, []string{certs.PeerName}, both...)))
	later := func() time.Time { return time.Now().Add(91 * day) }
	peers := certs.NewPeerStore(file, "", later)
	live := follow(t, peers.Certificate)
	require.ErrorContains(t, greet(peers.Client(live), peers.Server(live)), "expired")
	other := brokerOf(t, pemStore(t, issued(t, operator, []string{certs.PeerName}, both...)))
	require.Error(t, greet(other.client, peers.Server(live)))
}
