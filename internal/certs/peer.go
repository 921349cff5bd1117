package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// PeerName is the one name in the certificates that brokers show each other. No
// server certificate has it.
const PeerName = "broker.fleet"

// PeerCertificate is a Source: the identity of this broker among brokers. It is
// made for this process and kept in no file.
func (a *Authority) PeerCertificate(current *tls.Certificate) (*tls.Certificate, error) {
	ca := a.authority()
	if due(ca.Leaf, current, []string{PeerName}, a.cfg.Now()) == "" {
		return current, nil
	}
	fresh, err := a.issue(ca, []string{PeerName}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth})
	if err != nil {
		return current, err
	}
	return fresh, nil
}

// PeerServer is for the port that brokers call: it accepts peers of the same
// authority only. peer follows PeerCertificate.
func (a *Authority) PeerServer(peer *Live) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   peer.GetCertificate,
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: a.verifyPeer(x509.ExtKeyUsageClientAuth),
	}
}

// PeerClient is for calling another broker, by whatever address: the certificate
// says that it is a peer, not where it is.
func (a *Authority) PeerClient(peer *Live) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		ServerName:           PeerName,
		GetClientCertificate: peer.GetClientCertificate,
		// Not insecure: VerifyConnection does the whole verification. RootCAs would
		// keep an authority that was replaced while this process runs.
		InsecureSkipVerify: true,
		VerifyConnection:   a.verifyPeer(x509.ExtKeyUsageServerAuth),
	}
}

// verifyPeer verifies against the authority of the moment, resumed sessions too.
func (a *Authority) verifyPeer(usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("certs: peer shows no certificate")
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			DNSName:     PeerName,
			Roots:       a.Pool(), // and no intermediates: the authority has none
			CurrentTime: a.cfg.Now(),
			KeyUsages:   []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return notPeer(state.PeerCertificates[0], err)
		}
		return nil
	}
}
