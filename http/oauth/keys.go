package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const kindKey = "key"

// Ids of the key records.
const (
	keyAccess     = "access"     // signs access tokens of API clients and agents
	keyConnection = "connection" // signs connection tokens
	keyRoot       = "root"       // every Secret is derived from it
)

// Keys are the fleet's signing keys and secrets. They are read or made once, by
// LoadKeys, and do not change afterwards.
type Keys struct {
	access, connection signer
	root               []byte
}

type signer struct {
	id      string
	private *ecdsa.PrivateKey
}

// keyRecord holds a PKCS #8 private key with its kid, or a plain random secret.
type keyRecord struct {
	KeyID    string `json:"kid,omitempty"`
	Material []byte `json:"material"`
}

// LoadKeys reads the keys from the store and makes those that are missing. Of
// several brokers that start for the first time together one wins, and all use its keys.
func LoadKeys(ctx context.Context, store persistence.Store) (*Keys, error) {
	s := shelf[keyRecord]{store, kindKey}
	access, err := loadSigner(ctx, s, keyAccess)
	if err != nil {
		return nil, err
	}
	connection, err := loadSigner(ctx, s, keyConnection)
	if err != nil {
		return nil, err
	}
	root, err := loadOrMake(ctx, s, keyRoot, newRoot)
	if err != nil {
		return nil, err
	}
	if len(root.Material) != sha256.Size {
		return nil, errors.New("oauth: root secret has the wrong size")
	}
	return &Keys{access: access, connection: connection, root: root.Material}, nil
}

// Secret returns 32 bytes that are the same for a name on every broker of the
// fleet and after restarts, and tell nothing about those of another name.
func (k *Keys) Secret(name string) []byte {
	secret, err := hkdf.Expand(sha256.New, k.root, "open-session-manager "+name, sha256.Size)
	if err != nil { // only for lengths beyond 255 hashes
		panic(err)
	}
	return secret
}

func loadSigner(ctx context.Context, s shelf[keyRecord], id string) (signer, error) {
	record, err := loadOrMake(ctx, s, id, newSigner)
	if err != nil {
		return signer{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(record.Material)
	if err != nil {
		return signer{}, fmt.Errorf("oauth: signing key %q cannot be read", id)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() || record.KeyID == "" {
		return signer{}, fmt.Errorf("oauth: signing key %q is not a named P-256 key", id)
	}
	return signer{id: record.KeyID, private: private}, nil
}

func loadOrMake(ctx context.Context, s shelf[keyRecord], id string, makeNew func() (keyRecord, error)) (keyRecord, error) {
	k, err := s.load(ctx, id)
	if !errors.Is(err, persistence.ErrNotFound) {
		return k.Value, err
	}
	fresh, err := makeNew()
	if err != nil {
		return keyRecord{}, err
	}
	_, err = s.create(ctx, id, fresh)
	if errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrUncertain) {
		k, err = s.load(ctx, id) // another broker's, or ours after all
		return k.Value, err
	}
	return fresh, err
}

func newSigner() (keyRecord, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyRecord{}, fmt.Errorf("oauth: make signing key: %w", err)
	}
	material, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return keyRecord{}, fmt.Errorf("oauth: encode signing key: %w", err)
	}
	return keyRecord{KeyID: uuid.NewString(), Material: material}, nil
}

func newRoot() (keyRecord, error) {
	material := make([]byte, sha256.Size)
	_, _ = rand.Read(material) // never fails: crypto/rand ends the process first
	return keyRecord{Material: material}, nil
}
