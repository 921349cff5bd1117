package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

func isJKS(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}) || isJCEKS(data)
}

func isJCEKS(data []byte) bool { return bytes.HasPrefix(data, []byte{0xce, 0xce, 0xce, 0xce}) }

func parseJKS(data []byte, password string) (*tls.Certificate, error) {
	store, secret, err := openJKS(data, password)
	if err != nil {
		return nil, err
	}
	for _, alias := range slices.Sorted(slices.Values(store.Aliases())) {
		if !store.IsPrivateKeyEntry(alias) {
			continue
		}
		entry, err := store.GetPrivateKeyEntry(alias, secret)
		if err != nil {
			return nil, errors.New("its private key has another password than the store, or is damaged")
		}
		key, err := parseKey(entry.PrivateKey)
		if err != nil {
			return nil, err
		}
		var found []*x509.Certificate
		for _, c := range entry.CertificateChain {
			parsed, err := x509.ParseCertificate(c.Content)
			if err != nil {
				return nil, err
			}
			found = append(found, parsed)
		}
		return pair(key, found)
	}
	return nil, errors.New("it has no private key")
}

func parseJKSTrust(data []byte, password string) (trusted []*x509.Certificate, err error) {
	store, _, err := openJKS(data, password)
	if err != nil {
		return nil, err
	}
	for _, alias := range store.Aliases() {
		if !store.IsTrustedCertificateEntry(alias) {
			continue
		}
		entry, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(entry.Certificate.Content)
		if err != nil {
			return nil, err
		}
		trusted = append(trusted, c)
	}
	return trusted, nil
}

func openJKS(data []byte, password string) (store keystore.KeyStore, secret []byte, err error) {
	if isJCEKS(data) {
		return store, nil, errors.New("JCEKS is not supported: convert it with keytool -importkeystore to PKCS12")
	}
	if secret, err = latin1(password); err != nil {
		return store, nil, err
	}
	if !plausibleJKS(data) {
		return store, nil, errors.New("it is damaged")
	}
	store = keystore.New(keystore.WithCaseExactAliases())
	if store.Load(bytes.NewReader(data), secret) != nil {
		// The digest at the end is made with the password.
		return store, nil, fmt.Errorf("%w, or it is damaged", ErrPassword)
	}
	return store, secret, nil
}

// latin1 is what the library makes Java's two-byte characters of.
func latin1(password string) (secret []byte, err error) {
	for _, c := range password {
		if c > 0xff {
			return nil, errors.New("a password beyond Latin-1 is not supported for JKS: convert it to PKCS12")
		}
		secret = append(secret, byte(c))
	}
	return secret, nil
}

// plausibleJKS walks over all lengths in the file before the library allocates
// what they ask for, which may be far more than there is.
func plausibleJKS(data []byte) bool {
	w := jksWalk{rest: data, ok: true}
	w.skip(4) // magic
	version, entries := w.number(4), w.number(4)
	if version != 1 && version != 2 || entries > maxCertificates {
		return false
	}
	for ; entries > 0 && w.ok; entries-- {
		w.entry(version)
	}
	const digest = 20
	return w.ok && len(w.rest) == digest
}

type jksWalk struct {
	rest []byte
	ok   bool
}

func (w *jksWalk) skip(n int) []byte {
	if n < 0 || n > len(w.rest) {
		w.ok, n = false, 0
	}
	skipped := w.rest[:n]
	w.rest = w.rest[n:]
	return skipped
}

func (w *jksWalk) number(size int) int {
	var wide [8]byte
	b := w.skip(size)
	copy(wide[8-len(b):], b)
	return int(binary.BigEndian.Uint64(wide[:]))
}

func (w *jksWalk) entry(version int) {
	tag := w.number(4)
	w.skip(w.number(2)) // alias
	w.skip(8)           // creation date
	certificates := 1
	if tag == 1 { // a private key
		w.skip(w.number(4))
		certificates = w.number(4)
	}
	if certificates > maxCertificates {
		w.ok = false
	}
	for ; certificates > 0 && w.ok; certificates-- {
		if version == 2 {
			w.skip(w.number(2)) // type
		}
		w.skip(w.number(4))
	}
}
