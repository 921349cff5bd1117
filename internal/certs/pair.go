package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxCertificates bounds the certificates of one file; those of all public
// authorities are about 150.
const maxCertificates = 500

// pair joins a private key with the certificates found beside it: the one of the
// key comes first, the others follow in the order given.
func pair(key any, found []*x509.Certificate) (*tls.Certificate, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("a key of type %T is not supported", key)
	}
	made := &tls.Certificate{PrivateKey: signer}
	var others [][]byte
	for _, c := range found {
		if made.Leaf == nil && public.Equal(c.PublicKey) {
			made.Leaf = c
			continue
		}
		others = append(others, c.Raw)
	}
	if made.Leaf == nil {
		return nil, fmt.Errorf("none of its %d certificates belongs to the private key", len(found))
	}
	made.Certificate = append([][]byte{made.Leaf.Raw}, others...)
	return made, nil
}

// parsePEM reads a private key and its certificates in any order.
func parsePEM(data []byte) (*tls.Certificate, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	found, err := parseCertificates(blocks)
	if err != nil {
		return nil, err
	}
	var key any
	for _, b := range blocks {
		switch {
		case b.Headers["DEK-Info"] != "" || b.Type == "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("its private key is encrypted, which is supported in PKCS12 and JKS files only")
		case b.Type != "PRIVATE KEY" && b.Type != "RSA PRIVATE KEY" && b.Type != "EC PRIVATE KEY":
			continue
		case key != nil:
			return nil, errors.New("it has more than one private key")
		}
		if key, err = parseKey(b.Bytes); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, errors.New("it has no private key")
	}
	return pair(key, found)
}

var pemBegin = []byte("-----BEGIN ")

// pemBlocks is strict where encoding/pem skips what it cannot read: a file may be
// met half written.
func pemBlocks(data []byte) (blocks []*pem.Block, err error) {
	announced := bytes.Count(data, pemBegin)
	if announced > maxCertificates {
		return nil, fmt.Errorf("it has more than %d certificates and keys", maxCertificates)
	}
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		blocks = append(blocks, b)
	}
	if len(blocks) != announced {
		return nil, errors.New("it is cut off or damaged")
	}
	return blocks, nil
}

func parseCertificates(blocks []*pem.Block) (found []*x509.Certificate, err error) {
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

func parseKey(der []byte) (any, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("its private key cannot be parsed") // details might quote it
}

// EncodePEM returns the private key as PKCS8 and the certificates, leaf first.
func EncodePEM(c *tls.Certificate) (key, chain []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, nil, errors.New("certs: private key cannot be encoded")
	}
	for _, raw := range c.Certificate {
		chain = append(chain, encodeCertificate(raw)...)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), chain, nil
}

func encodeCertificate(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}
