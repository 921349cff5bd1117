package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net"
	"time"
)

// Lives of certificates. Those that are issued begin an hour early, for clocks that
// are behind, and never outlive the authority.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	early    = time.Hour
)

func newAuthority(now time.Time) (*tls.Certificate, error) {
	mark := make([]byte, 4) // tells two authorities of the same name apart
	rand.Read(mark)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "DCV Session Manager Broker CA " + hex.EncodeToString(mark)},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, nil)
}

// Issue makes a certificate for the given DNS names and addresses. It is valid for
// 90 days, or until the authority expires.
func (a *Authority) Issue(names []string, usage ...x509.ExtKeyUsage) (*tls.Certificate, error) {
	return a.issue(a.authority(), names, usage)
}

func (a *Authority) issue(ca *tls.Certificate, names []string, usage []x509.ExtKeyUsage) (*tls.Certificate, error) {
	now := a.cfg.Now()
	template := &x509.Certificate{
		NotBefore:             latest(now.Add(-early), ca.Leaf.NotBefore),
		NotAfter:              earliest(now.Add(leafLife), ca.Leaf.NotAfter),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usage,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(template.DNSNames) > 0 && len(template.DNSNames[0]) <= 64 { // a common name has no more room
		template.Subject.CommonName = template.DNSNames[0]
	}
	return sign(template, ca)
}

// sign makes a P-256 key and its certificate, signed by ca or by itself.
func sign(template *x509.Certificate, ca *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certs: generate key: %w", err)
	}
	made := &tls.Certificate{PrivateKey: key}
	if ca == nil {
		ca = &tls.Certificate{PrivateKey: key, Leaf: template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("certs: sign: %w", err)
	}
	made.Certificate = [][]byte{der}
	if ca.Leaf.Raw != nil {
		// The authority goes along, so that a client can be shown whom it would trust.
		made.Certificate = append(made.Certificate, ca.Leaf.Raw)
	}
	if made.Leaf, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("certs: sign: %w", err)
	}
	return made, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
