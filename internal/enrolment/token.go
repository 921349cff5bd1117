// Package enrolment is the text of an enrolment token: what an administrator copies from
// a broker to a new host. It says which token it is, proves that its bearer may enrol,
// and pins the authority that signs the brokers' certificates, so that the host needs
// nothing else to know whom it talks to.
//
//	dcvsm-enrol-1.<base64url of id(16) secret(16) fingerprint(32) checksum(4)>
//
// The fingerprint is the SHA-256 of the authority's SubjectPublicKeyInfo and not of its
// certificate: an authority that renews its certificate and keeps its key keeps its
// tokens and the hosts that enrolled. The checksum tells a text that was cut or mistyped
// from a stranger in the middle. The text has no character that a shell would read.
package enrolment

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/google/uuid"
)

const (
	prefix = "dcvsm-enrol-1."
	sumLen = 4
	rawLen = 16 + SecretLen + sha256.Size + sumLen
)

// SecretLen is the length of the secret of a token, and of the nonce that a host adds, in bytes.
const SecretLen = 16

// MaxText bounds the text of a token in bytes, with room for a trailing newline.
const MaxText = 256

// Errors of Parse.
var (
	// ErrNoToken: the text is something else.
	ErrNoToken = errors.New("enrolment: this is not an enrolment token, which begins with " + prefix)
	// ErrVersion: the token is of a version that is not known here.
	ErrVersion = errors.New("enrolment: this token is of a newer version; upgrade this program")
	// ErrDamaged: some of it is missing or mistyped.
	ErrDamaged = errors.New("enrolment: the enrolment token is damaged: copy all of it, exactly")
)

// Token is an enrolment token that was read or made.
type Token struct {
	ID          uuid.UUID
	Secret      [SecretLen]byte
	Fingerprint Fingerprint
}

// Fingerprint stands for the key of an authority.
type Fingerprint [sha256.Size]byte

// Of is the fingerprint of the key in a certificate.
func Of(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// New makes a token with a random id and secret.
func New(authority Fingerprint) Token {
	t := Token{ID: uuid.New(), Fingerprint: authority}
	_, _ = rand.Read(t.Secret[:]) // never fails: crypto/rand ends the process first
	return t
}

// Text is what is copied. It is a secret.
func (t Token) Text() string {
	raw := make([]byte, 0, rawLen)
	raw = append(append(append(raw, t.ID[:]...), t.Secret[:]...), t.Fingerprint[:]...)
	return prefix + base64.RawURLEncoding.EncodeToString(append(raw, checksum(raw)...))
}

// String is what may be printed: the id.
func (t Token) String() string { return t.ID.String() }

// GoString keeps the secret out of %#v.
func (t Token) GoString() string { return t.ID.String() }

// Parse reads a token, space around it aside. Its errors do not repeat the text.
func Parse(text string) (Token, error) {
	if len(text) > MaxText {
		return Token{}, ErrNoToken
	}
	text = strings.TrimSpace(text)
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		if strings.HasPrefix(text, strings.TrimSuffix(prefix, "1.")) {
			return Token{}, ErrVersion
		}
		return Token{}, ErrNoToken
	}
	if strings.ContainsAny(encoded, "\r\n") { // which the decoder would skip
		return Token{}, ErrDamaged
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) != rawLen {
		return Token{}, ErrDamaged
	}
	body, sum := raw[:rawLen-sumLen], raw[rawLen-sumLen:]
	if !bytes.Equal(checksum(body), sum) {
		return Token{}, ErrDamaged
	}
	var t Token
	n := copy(t.ID[:], body)
	n += copy(t.Secret[:], body[n:])
	copy(t.Fingerprint[:], body[n:])
	return t, nil
}

// checksum finds mistakes, not forgers: whoever knows how makes a right one.
func checksum(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:sumLen]
}
