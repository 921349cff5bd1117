package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/MicahParks/jwkset"
)

// Bounds of a key set.
const (
	maxKeys    = 100
	maxKeyID   = 1024 // bytes
	minModulus = 2048 // bits
	maxModulus = 8192 // bits: verifying takes the square of it
)

// Errors of a fetch that was answered.
var (
	errNoSet       = errors.New("the answer is no JSON Web Key Set")
	errTooManyKeys = errors.New("the key set has more than 100 keys")
	errNoKeys      = errors.New("the key set has no key that can verify tokens")
)

// Key is a public key and the one algorithm that it may be used with (RFC 8725
// section 3.1).
type Key struct {
	ID        string
	Algorithm string
	Public    crypto.PublicKey

	dropped atomic.Bool
}

// Dropped reports whether the key no longer counts: its server does not publish it
// any more, was away for too long, or is no longer registered.
func (k *Key) Dropped() bool { return k.dropped.Load() }

func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && public.Equal(other.Public)
}

// parse reads a key set (RFC 7517). Keys that cannot verify a token, for whatever
// reason, are passed over, as section 5 there wants; a set without any other is an error.
func parse(data []byte, algorithm string) ([]*Key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil {
		return nil, errNoSet
	}
	if len(set.Keys) > maxKeys {
		return nil, errTooManyKeys
	}
	var keys []*Key
	for _, raw := range set.Keys {
		if key := parseKey(raw, algorithm); key != nil {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}

// parseKey returns nil for a key that is no use.
func parseKey(raw json.RawMessage, wanted string) *Key {
	var m jwkset.JWKMarshal
	if json.Unmarshal(raw, &m) != nil || len(m.KID) > maxKeyID {
		return nil
	}
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return nil // for encryption
	}
	if m.KTY == jwkset.KtyRSA && !sizedRSA(m) {
		return nil
	}
	// Only what makes the public key: no private halves, and no certificates, which
	// would have to be parsed, or fetched, and say nothing that is believed here.
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E},
		jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipMetadata: true})
	if err != nil {
		return nil
	}
	family := algorithmsOf(jwk.Key())
	algorithm := string(m.ALG)
	if algorithm == "" {
		algorithm = wanted
	}
	if algorithm == "" && len(family) > 0 {
		algorithm = family[0]
	}
	if !slices.Contains(family, algorithm) || wanted != "" && algorithm != wanted {
		return nil
	}
	return &Key{ID: m.KID, Algorithm: algorithm, Public: jwk.Key()}
}

// sizedRSA looks at the lengths before anybody computes with the numbers: the library
// cuts an exponent off that does not fit, and takes a modulus of any size.
func sizedRSA(m jwkset.JWKMarshal) bool {
	modulus, exponent := strings.TrimRight(m.N, "="), strings.TrimRight(m.E, "=")
	return len(modulus) <= (maxModulus/8+1)*4/3+1 && len(exponent) <= 6 // 4 bytes
}

// algorithmsOf lists what a key can be used for, what is assumed without more first.
func algorithmsOf(public any) []string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minModulus || bits > maxModulus || key.E < 3 || key.E > math.MaxInt32 || key.E%2 == 0 {
			return nil
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}
