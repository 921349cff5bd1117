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
	"time"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const kindKey = "key"

// RootKey is the record that is there, unchanged, as long as a fleet lives: without it
// the store does not hold that fleet's records.
func RootKey() persistence.Key { return persistence.Key{Kind: kindKey, ID: keyRoot} }

// Kinds are those of all records that this package keeps. They are few, small, and to
// be had from nowhere else.
func Kinds() []string {
	return []string{kindKey, kindAPIClient, kindAgentClient, kindStatement, kindEnrolment, kindAuthServer, kindEpoch}
}

// Ids of the key records.
const (
	keyAccess     = "access"     // signs access tokens of API clients and agents
	keyConnection = "connection" // signs connection tokens
	keyRoot       = "root"       // every Secret is derived from it
)

// Keys are the fleet's signing keys and secrets. The root never changes; the signing
// keys do with Renew, here or at another broker.
type Keys struct {
	access, connection *ring
	root               []byte
}

type signer struct {
	id      string
	private *ecdsa.PrivateKey
}

// LoadKeys reads the keys from the store and makes those that are missing. Of
// several brokers that start for the first time together one wins, and all use its keys.
func LoadKeys(ctx context.Context, store persistence.Store) (*Keys, error) {
	s := shelf[keyRecord]{store, kindKey}
	access, err := loadRing(ctx, s, keyAccess)
	if err != nil {
		return nil, err
	}
	connection, err := loadRing(ctx, s, keyConnection)
	if err != nil {
		return nil, err
	}
	root, err := loadOrMake(ctx, s, keyRoot, newRoot)
	if err != nil {
		return nil, err
	}
	if len(root.Value.Material) != sha256.Size {
		return nil, errors.New("oauth: root secret has the wrong size")
	}
	return &Keys{access: access, connection: connection, root: root.Value.Material}, nil
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

// Refresh adopts keys that other brokers renewed.
func (k *Keys) Refresh(ctx context.Context) error {
	return errors.Join(k.access.refresh(ctx), k.connection.refresh(ctx))
}

// renewalSlack is how long brokers may go on signing with a key that another broker
// has replaced, because they have not heard of it.
const renewalSlack = time.Minute

// Renew replaces both signing keys. The old ones verify until the tokens have run
// out that they signed; connectionLifetime is how long the longest-lived connection
// token is good for. With forget they verify nothing from now on. Every broker finds
// the new keys when it next looks, or meets a token signed with one. ErrTooManyKeys,
// or an error of the store; what was done by then is good to go on with.
func (k *Keys) Renew(ctx context.Context, now time.Time, connectionLifetime time.Duration, forget bool) error {
	access, connection := AccessTokenLifetime+skew+renewalSlack, connectionLifetime+skew+renewalSlack
	if forget {
		access, connection = 0, 0
	}
	if err := k.access.renew(ctx, now, access); err != nil {
		return err
	}
	return k.connection.renew(ctx, now, connection)
}

// errNoSigner is wrapped with what it is about; it shows nothing of the key.
var errNoSigner = errors.New("is not a named P-256 key")

func parseSigner(id string, material []byte) (signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return signer{}, errNoSigner
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() || id == "" {
		return signer{}, errNoSigner
	}
	return signer{id: id, private: private}, nil
}

func loadOrMake(ctx context.Context, s shelf[keyRecord], id string, makeNew func() (keyRecord, error)) (kept[keyRecord], error) {
	k, err := s.load(ctx, id)
	if !errors.Is(err, persistence.ErrNotFound) {
		return k, err
	}
	fresh, err := makeNew()
	if err != nil {
		return k, err
	}
	version, err := s.create(ctx, id, fresh)
	if errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrUncertain) {
		return s.load(ctx, id) // another broker's, or ours after all
	}
	return kept[keyRecord]{ID: id, Version: version, Value: fresh}, err
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
