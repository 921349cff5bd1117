package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// ErrPassword: the password does not open the key store.
var ErrPassword = errors.New("certs: wrong password")

// LoadKeyStore reads a private key and its certificates from a file of at most
// 1 MiB. The format is told by the content:
//   - PEM, key and certificates in one file, or in two: "cert.pem,key.pem";
//   - PKCS12, of keytool or OpenSSL, with one key;
//   - JKS, whose key has the password of the store; of several keys the one whose
//     alias sorts first.
//
// The certificate of the key comes first in the result. A wrong password is
// ErrPassword where the format tells it from damage; no error contains the password.
func LoadKeyStore(path, password string) (tls.Certificate, error) {
	data, err := readStore(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	c, err := parseKeyStore(data, password)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: key store %s: %w", path, err)
	}
	return *c, nil
}

// KeyStore is a Source that reads a key store again when its content changed.
func KeyStore(path, password string) Source {
	var known [sha256.Size]byte
	return func(current *tls.Certificate) (*tls.Certificate, error) {
		data, err := readStore(path)
		if err != nil {
			return current, err
		}
		content := sha256.Sum256(data)
		if current != nil && content == known {
			return current, nil // opening a PKCS12 file is slow on purpose
		}
		next, err := parseKeyStore(data, password)
		if err != nil {
			return current, fmt.Errorf("certs: key store %s: %w", path, err)
		}
		known = content
		return next, nil
	}
}

// LoadTrustStore reads the certificates that others are verified against: PEM, or
// a trust store of keytool as PKCS12 or JKS.
func LoadTrustStore(path, password string) (*x509.CertPool, error) {
	data, err := readStore(path)
	if err != nil {
		return nil, err
	}
	trusted, err := parseTrustStore(data, password)
	if err == nil && len(trusted) == 0 {
		err = errors.New("it has no trusted certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("certs: trust store %s: %w", path, err)
	}
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AddCert(c)
	}
	return pool, nil
}

// readStore joins what may be in two PEM files.
func readStore(path string) ([]byte, error) {
	var all []byte
	for part := range strings.SplitSeq(path, ",") {
		data, err := readFile(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("certs: read key store: %w", err)
		}
		if len(all) > 0 {
			all = append(all, '\n')
		}
		if all = append(all, data...); len(all) > 2*maxFileSize {
			return nil, errors.New("certs: read key store: too many files")
		}
	}
	return all, nil
}

var errFormat = errors.New("it is neither PEM nor PKCS12 nor JKS")

func parseKeyStore(data []byte, password string) (c *tls.Certificate, err error) {
	defer refusePanic(&err)
	switch {
	case isJKS(data):
		return parseJKS(data, password)
	case isPEM(data):
		return parsePEM(data)
	case isPKCS12(data):
		return parsePKCS12(data, password)
	}
	return nil, errFormat
}

func parseTrustStore(data []byte, password string) (trusted []*x509.Certificate, err error) {
	defer refusePanic(&err)
	switch {
	case isJKS(data):
		return parseJKSTrust(data, password)
	case isPEM(data):
		return parsePEMTrust(data)
	case isPKCS12(data):
		return parsePKCS12Trust(data, password)
	}
	return nil, errFormat
}

func isPEM(data []byte) bool { return bytes.Contains(data, pemBegin) }

func parsePEMTrust(data []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	return parseCertificates(blocks)
}

// refusePanic makes an error of a panic: the libraries for PKCS12 and JKS trust
// some lengths in their input. What they say may quote it, so it is not repeated.
func refusePanic(err *error) {
	if recover() != nil {
		*err = errors.New("it is damaged")
	}
}
