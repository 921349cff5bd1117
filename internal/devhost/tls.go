package devhost

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate returns the pair for the client port and the file that clients
// should trust. A self-signed pair is kept in the folder, so that its fingerprint
// lasts, and made anew in its last month.
func (h *Host) certificate() (tls.Certificate, string, error) {
	if h.cfg.CertFile != "" || h.cfg.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(h.cfg.CertFile, h.cfg.KeyFile)
		if err != nil {
			return pair, "", fmt.Errorf("devhost: certificate: %w", err)
		}
		return pair, h.cfg.CertFile, nil
	}
	certFile, keyFile := filepath.Join(h.cfg.Dir, "dcv.pem"), filepath.Join(h.cfg.Dir, "dcv.key")
	now := h.cfg.Now()
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && now.Before(pair.Leaf.NotAfter.AddDate(0, -1, 0)) {
		return pair, certFile, nil
	}
	cert, key, err := selfSigned(h.cfg.Name, h.cfg.Listen, now)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("devhost: certificate: %w", err)
	}
	if err := replaceFile(keyFile, key, 0o600); err != nil {
		return tls.Certificate{}, "", err
	}
	if err := replaceFile(certFile, cert, 0o600); err != nil {
		return tls.Certificate{}, "", err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, "", fmt.Errorf("devhost: certificate: %w", err)
	}
	return pair, certFile, nil
}

func selfSigned(name, listen string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"DCV stand-in host"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if hostname, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, hostname)
	}
	if host, _, err := net.SplitHostPort(listen); err == nil && net.ParseIP(host) != nil {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(host))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func fingerprint(pair tls.Certificate) string {
	sum := sha256.Sum256(pair.Certificate[0])
	return hex.EncodeToString(sum[:])
}
