package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// PeerStore is the identity of this broker among brokers as an operator made it: a key
// store with its key and certificate, and the authorities whose brokers it takes. These
// are all CA certificates in the store: those of the chain, and trusted entries, by
// which an authority is replaced step by step.
//
// An authority may have made certificates for others than brokers, so a certificate of
// one must also have the name PeerName. Without that name, as in a store made by
// keytool and copied to each broker, only the very same certificate is taken.
type PeerStore struct {
	path, password string
	now            func() time.Time
	keys           Source
	known          *tls.Certificate // what trusted was read with
	trusted        atomic.Pointer[x509.CertPool]
}

// NewPeerStore makes a PeerStore of a file that LoadKeyStore can read; now is the clock
// certificates expire by.
func NewPeerStore(path, password string, now func() time.Time) *PeerStore {
	return &PeerStore{path: path, password: password, now: now, keys: KeyStore(path, password)}
}

// Certificate is a Source: the certificate in the store, read again, with the
// authorities, when the file changed.
func (s *PeerStore) Certificate(current *tls.Certificate) (*tls.Certificate, error) {
	next, err := s.keys(current)
	if err != nil || next == s.known {
		return next, err
	}
	trusted, err := s.authorities(next)
	if err != nil {
		return current, fmt.Errorf("certs: key store %s: %w", s.path, err)
	}
	s.trusted.Store(trusted)
	s.known = next
	return next, nil
}

// authorities are the CA certificates beside a certificate.
func (s *PeerStore) authorities(of *tls.Certificate) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	add := func(c *x509.Certificate) {
		if c.IsCA && c.BasicConstraintsValid {
			pool.AddCert(c)
		}
	}
	for _, raw := range of.Certificate[1:] {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, err
		}
		add(c)
	}
	data, err := readStore(s.path)
	if err != nil || !isJKS(data) { // the others have no entries apart
		return pool, err
	}
	entries, err := parseTrustStore(data, s.password)
	for _, c := range entries {
		add(c)
	}
	return pool, err
}

// Server is for the port that brokers call. peer follows Certificate.
func (s *PeerStore) Server(peer *Live) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   peer.GetCertificate,
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: s.verify(peer, x509.ExtKeyUsageClientAuth),
	}
}

// Client is for calling another broker, by whatever address.
func (s *PeerStore) Client(peer *Live) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		ServerName:           PeerName,
		GetClientCertificate: peer.GetClientCertificate,
		InsecureSkipVerify:   true, // VerifyConnection does the whole verification, as in PeerClient
		VerifyConnection:     s.verify(peer, x509.ExtKeyUsageServerAuth),
	}
}

func (s *PeerStore) verify(own *Live, usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("certs: peer shows no certificate")
		}
		shown, now := state.PeerCertificates[0], s.now()
		if bytes.Equal(shown.Raw, own.current.Load().Leaf.Raw) {
			if now.Before(shown.NotBefore) || now.After(shown.NotAfter) {
				return errors.New("certs: not a peer: the certificate of the key store, which both have, has expired or is not valid yet")
			}
			return nil
		}
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		if _, err := shown.Verify(x509.VerifyOptions{Roots: s.trusted.Load(), Intermediates: between,
			CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return notPeer(shown, err)
		}
		if err := shown.VerifyHostname(PeerName); err != nil {
			return fmt.Errorf("certs: not a peer: its certificate, for %.100q, is of a trusted authority but lacks the name %s, by which brokers know each other", shown.Subject, PeerName)
		}
		return nil
	}
}

// notPeer says whose certificate was refused, so that an operator finds it.
func notPeer(shown *x509.Certificate, why error) error {
	return fmt.Errorf("certs: not a peer: its certificate was issued by %.100q: %w", shown.Issuer, why)
}
