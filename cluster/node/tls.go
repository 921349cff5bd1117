package node

import (
	"context"
	"crypto/tls"
	"time"

	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
)

// refreshEvery is how often certificates are looked at: renewal at two thirds of
// their life, new files of the operator, new addresses of the machine.
const refreshEvery = time.Minute

func (n *Node) openCertificates(context.Context) error {
	ca, err := certs.Ensure(certs.Config{Dir: n.securityDir(), Hosts: n.opt.Config.Proxies.Names, Logger: n.log})
	if err != nil {
		return err
	}
	n.ca = ca
	n.identity, err = n.follow(ca.ServerCertificate)
	return err
}

// follow keeps a certificate fresh while the broker runs.
func (n *Node) follow(source certs.Source) (*certs.Live, error) {
	live, err := certs.Follow(source, n.log)
	if err != nil {
		return nil, err
	}
	n.background(func(ctx context.Context) {
		tick := time.NewTicker(refreshEvery)
		defer tick.Stop()
		live.Run(ctx, tick.C)
	})
	return live, nil
}

// connectorTLS is the operator's certificate if there is one, else our own.
func (n *Node) connectorTLS(c config.Connector) (*tls.Config, error) {
	live := n.identity
	if c.KeyStoreFile != "" {
		var err error
		if live, err = n.follow(certs.KeyStore(string(c.KeyStoreFile), c.KeyStorePass.Reveal())); err != nil {
			return nil, err
		}
	}
	return &tls.Config{GetCertificate: live.GetCertificate, MinVersion: tls.VersionTLS12}, nil
}

// peerTLS is this broker's identity among brokers: the operator's if there is one, else
// one of our own authority, which all brokers then share.
func (n *Node) peerTLS() (server, client *tls.Config, err error) {
	if c := n.opt.Config.Fleet; c.KeyStoreFile != "" {
		store := certs.NewPeerStore(string(c.KeyStoreFile), c.KeyStorePass.Reveal(), time.Now)
		peer, err := n.follow(store.Certificate)
		if err != nil {
			return nil, nil, err
		}
		return store.Server(peer), store.Client(peer), nil
	}
	peer, err := n.follow(n.ca.PeerCertificate)
	if err != nil {
		return nil, nil, err
	}
	return n.ca.PeerServer(peer), n.ca.PeerClient(peer), nil
}
