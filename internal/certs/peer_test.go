package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/certs"
)

// greet does both handshakes and one byte each way, as TLS 1.3 tells a client that
// it is refused only when it reads. The connection is a real one: over a net.Pipe both
// would wait for ever, one to refuse and one to be read.
func greet(client, server *tls.Config) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	answered := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			_, err = tls.Server(conn, server).Write([]byte("!"))
		}
		answered <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = tls.Client(conn, client).Read(make([]byte, 1))
	_ = conn.Close()
	return errors.Join(err, <-answered)
}

func clientOf(c *tls.Certificate, like *tls.Config) *tls.Config {
	other := like.Clone()
	other.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	return other
}

func serverOf(c *tls.Certificate, like *tls.Config) *tls.Config {
	other := like.Clone()
	other.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
	return other
}

func TestPeers_OfOneAuthorityTalk(t *testing.T) {
	t.Parallel()
	a := newMachine(t).ensure(t)
	one, two := follow(t, a.PeerCertificate), follow(t, a.PeerCertificate)
	require.NotEqual(t, current(t, one).Certificate, current(t, two).Certificate)
	require.Equal(t, []string{certs.PeerName}, current(t, one).Leaf.DNSNames)
	require.NoError(t, greet(a.PeerClient(one), a.PeerServer(two)))
	require.NoError(t, greet(a.PeerClient(two), a.PeerServer(one)))
}

func TestPeers_RefuseEverybodyElse(t *testing.T) {
	t.Parallel()
	a, stranger := newMachine(t).ensure(t), newMachine(t).ensure(t)
	peer, foreign := follow(t, a.PeerCertificate), follow(t, stranger.PeerCertificate)
	gateway, err := a.Issue([]string{"gateway"}, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	require.NoError(t, err)
	serverOnly, err := a.Issue([]string{certs.PeerName}, x509.ExtKeyUsageServerAuth)
	require.NoError(t, err)
	client, served := a.PeerClient(peer), a.PeerServer(peer)

	for name, wrong := range map[string]*tls.Certificate{
		"another authority":      current(t, foreign),
		"the server certificate": server(t, a),
		"a name of our own":      gateway,
		"no certificate":         {},
	} {
		require.Error(t, greet(clientOf(wrong, client), served), "client with %s", name)
		require.Error(t, greet(client, serverOf(wrong, served)), "server with %s", name)
	}
	require.Error(t, greet(clientOf(serverOnly, client), served), "client with a certificate for servers")
	old := client.Clone()
	old.MinVersion, old.MaxVersion = 0, tls.VersionTLS12
	require.Error(t, greet(old, served), "TLS 1.2")
}

func TestPeers_RenewInTimeAndExpire(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	a := m.ensure(t)
	renewed, forgotten := follow(t, a.PeerCertificate), follow(t, a.PeerCertificate)
	for range 3 {
		m.wait(61 * day)
		require.NoError(t, renewed.Refresh())
		require.NoError(t, greet(a.PeerClient(renewed), a.PeerServer(renewed)))
	}
	require.Error(t, greet(a.PeerClient(forgotten), a.PeerServer(renewed)))
	require.Error(t, greet(a.PeerClient(renewed), a.PeerServer(forgotten)))
}
