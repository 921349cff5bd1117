package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxName bounds the name of a client, in bytes.
const maxName = 256

// ErrName: a client's name is empty, longer than 256 bytes, not UTF-8 or has
// control characters.
var ErrName = errors.New("oauth: invalid client name")

// newSecret returns a client password as the vendor's: base64 of a UUID's text,
// 48 characters (contract section 2).
func newSecret() string {
	return base64.StdEncoding.EncodeToString([]byte(uuid.NewString()))
}

// hasher turns client secrets into what the store keeps.
type hasher struct{ key []byte }

func newHasher(keys *Keys) hasher { return hasher{keys.Secret("client-secrets")} }

// hash binds the secret to its client, so that records cannot be swapped.
func (h hasher) hash(clientID, secret string) []byte {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(clientID))
	mac.Write([]byte{0})
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

// matches takes as long for a wrong secret as for a right one, also with a nil hash.
func (h hasher) matches(hash []byte, clientID, secret string) bool {
	return hmac.Equal(hash, h.hash(clientID, secret))
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !printable(name) {
		return fmt.Errorf("%w: want 1 to %d bytes of printable UTF-8", ErrName, maxName)
	}
	return nil
}

// printable reports whether s is UTF-8 without control characters.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
