package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"

	"software.sslmate.com/src/go-pkcs12"
)

func isPKCS12(data []byte) bool { return len(data) > 0 && data[0] == 0x30 } // a DER sequence

func parsePKCS12(data []byte, password string) (*tls.Certificate, error) {
	if err := checkPKCS12(data); err != nil {
		return nil, err
	}
	key, first, others, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return nil, pkcs12Error(err)
	}
	if len(others) >= maxCertificates {
		return nil, errors.New("it has too many certificates")
	}
	return pair(key, append([]*x509.Certificate{first}, others...))
}

func parsePKCS12Trust(data []byte, password string) ([]*x509.Certificate, error) {
	if err := checkPKCS12(data); err != nil {
		return nil, err
	}
	trusted, err := pkcs12.DecodeTrustStore(data, password)
	if err != nil {
		return nil, pkcs12Error(err)
	}
	return trusted, nil
}

func pkcs12Error(err error) error {
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return ErrPassword
	}
	return err
}

// maxIterations bounds how often a password is hashed. Keytool and OpenSSL do it
// 2,048 to 10,000 times; at this bound it takes seconds, and without one for ever.
const maxIterations = 1_000_000

func checkPKCS12(data []byte) error {
	w := derWalk{budget: 100_000}
	if !w.walk(data, 0) {
		return errors.New("it is damaged, or it asks for too much work")
	}
	return nil
}

// derWalk looks at every element, also of DER inside octet strings. In PKCS12 the
// integers after an octet string are what belongs to a salt: count of iterations
// and length of the key. (Those inside of what is encrypted are not seen; who can
// write them knows the password.)
type derWalk struct{ budget int }

const maxDepth = 30

func (w *derWalk) walk(data []byte, depth int) bool {
	salted := false
	for len(data) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(data, &element)
		if err != nil {
			return depth > 0 // an octet string need not be DER
		}
		if w.budget--; w.budget < 0 || depth > maxDepth {
			return false
		}
		universal := element.Class == asn1.ClassUniversal
		if salted && universal && element.Tag == asn1.TagInteger &&
			new(big.Int).SetBytes(element.Bytes).Cmp(big.NewInt(maxIterations)) > 0 {
			return false
		}
		if (element.IsCompound || isOctets(element)) && !w.walk(element.Bytes, depth+1) {
			return false
		}
		salted, data = salted || isOctets(element), rest
	}
	return true
}

func isOctets(v asn1.RawValue) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString && !v.IsCompound
}
