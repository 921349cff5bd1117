//go:build fleet

package e2e

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"opensessionmanager/internal/certs"
	"opensessionmanager/persistence/consul/consultest"
)

const storePassword = "an-operator's-secret"

// keyStore writes a PKCS12 file with a broker's key, its certificate and its authority's.
func keyStore(t *testing.T, of *certs.Authority, file string) {
	t.Helper()
	c, err := of.Issue([]string{certs.PeerName, "broker.example.com"}, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	require.NoError(t, err)
	data, err := pkcs12.Modern.Encode(c.PrivateKey, c.Leaf, []*x509.Certificate{of.Certificate()}, storePassword)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
}

func newPeerAuthority(t *testing.T) *certs.Authority {
	t.Helper()
	ca, err := certs.Ensure(certs.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	return ca
}

// F13: the port between brokers has certificates of the operator's own authority. Who
// has one of another authority does not get in, and both sides say why, once.
func TestFleet_BrokersKnowEachOtherByTheOperatorsKeyStores(t *testing.T) {
	t.Parallel()
	consul := consultest.Start(t, consultest.Options{})
	ours, theirs := newPeerAuthority(t), newPeerAuthority(t)
	with := func(authority *certs.Authority) *broker {
		file := filepath.Join(t.TempDir(), "peers.p12")
		keyStore(t, authority, file)
		return newBroker(t, "consul-address = "+consul.Address(), fmt.Sprintf("broker-to-broker-port = %d", freePort(t)),
			"broker-to-broker-bind-host = 127.0.0.1", "broker-to-broker-key-store-file = "+file, "broker-to-broker-key-store-pass = "+storePassword)
	}
	a, b := with(ours), with(ours) // their own authorities differ: only the key stores count
	a.start()
	b.start()
	for _, each := range []*broker{a, b} {
		await(t, "a fleet of two", func() error {
			if !strings.Contains(each.log.String(), "brokers=2") {
				return errors.New("not yet")
			}
			return nil
		})
	}
	stranger := with(theirs)
	o := stranger.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "not a broker of this fleet")
	require.Contains(t, o.stderr, "certs: not a peer: its certificate was issued by")
	require.NotContains(t, o.stderr, storePassword)
	await(t, "the others to say so", func() error {
		if !strings.Contains(a.log.String()+b.log.String(), "a connection to the port between brokers was refused") {
			return errors.New("not yet")
		}
		return nil
	})
	for _, each := range []*broker{a, b} {
		require.NoError(t, each.healthy(), "nothing happened to those who are there")
		require.NotContains(t, each.log.String(), "brokers=3")
		require.LessOrEqual(t, strings.Count(each.log.String(), "a connection to the port between brokers was refused"), 1)
		require.Zero(t, each.proc.stop())
	}
}
