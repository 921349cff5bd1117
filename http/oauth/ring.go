package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const (
	// maxOldKeys bounds how many replaced keys may still verify at a time.
	maxOldKeys = 64
	// rereadEvery is the least time between two questions to the store about keys
	// that nobody here knows: a flood of invented key ids must not become one of reads.
	rereadEvery = 100 * time.Millisecond
)

// ErrTooManyKeys: keys were renewed so often that the ones before have not run out.
var ErrTooManyKeys = errors.New("oauth: too many renewed keys still verify tokens, try again later")

// ring is the signing key of one purpose, and the public halves of those that it
// replaced for as long as tokens signed with them may be around. All of it is one
// record, so whoever is killed while renewing leaves the old ring or the new one.
type ring struct {
	shelf shelf[keyRecord]
	id    string
	state atomic.Pointer[ringState]

	mu    sync.Mutex // one reader of the store at a time
	began time.Time  // when the last read began; monotonic
	last  error      // how it ended
}

type ringState struct {
	version int64
	signer  signer
	keys    map[string]*verifyKey // by id; the signer's own among them
}

// verifyKey is a public key. It stays the same in memory over renewals, so that
// what was verified with it can tell when it is dropped.
type verifyKey struct {
	id      string
	public  *ecdsa.PublicKey
	until   atomic.Int64 // Unix seconds; 0: no end is known yet
	dropped atomic.Bool
}

// keyRecord holds a PKCS #8 private key with its kid, or a plain random secret.
type keyRecord struct {
	KeyID    string   `json:"kid,omitempty"`
	Material []byte   `json:"material"`
	Old      []oldKey `json:"old,omitempty"`
}

// oldKey is a replaced key; its private half exists no more.
type oldKey struct {
	KeyID  string    `json:"kid"`
	Public []byte    `json:"public"` // PKIX
	Until  time.Time `json:"until"`
}

func loadRing(ctx context.Context, s shelf[keyRecord], id string) (*ring, error) {
	r := &ring{shelf: s, id: id}
	k, err := loadOrMake(ctx, s, id, newSigner)
	if err != nil {
		return nil, err
	}
	return r, r.adopt(k)
}

func (r *ring) signer() signer { return r.state.Load().signer }

// refresh adopts what other brokers made of the ring.
func (r *ring) refresh(ctx context.Context) error {
	k, err := r.shelf.load(ctx, r.id)
	if errors.Is(err, persistence.ErrNotFound) {
		return nil // somebody emptied the store; ours is as good as any
	}
	if err != nil {
		return err
	}
	return r.adopt(k)
}

// adopt makes a record the state, unless a newer one is.
func (r *ring) adopt(k kept[keyRecord]) error {
	fresh, err := parseRing(r.id, k)
	if err != nil {
		return err
	}
	for {
		before := r.state.Load()
		if before != nil && before.version >= fresh.version {
			return nil
		}
		if before != nil {
			fresh.keep(before)
		}
		if !r.state.CompareAndSwap(before, fresh) {
			continue
		}
		if before != nil {
			before.dropMissing(fresh)
		}
		return nil
	}
}

// keep takes over the keys in memory that both states know.
func (s *ringState) keep(before *ringState) {
	for id, key := range s.keys {
		if old := before.keys[id]; old != nil && !old.dropped.Load() {
			old.until.Store(key.until.Load())
			s.keys[id] = old
		}
	}
}

func (s *ringState) dropMissing(after *ringState) {
	for id, key := range s.keys {
		if after.keys[id] == nil {
			key.dropped.Store(true)
		}
	}
}

// find returns the key with which a token may have been signed. A key that nobody
// here knows may be another broker's newest, so the store is asked. errForeignKey,
// or an error of the store.
func (r *ring) find(kid string, now time.Time) (*verifyKey, error) {
	if key := r.known(kid, now); key != nil {
		return key, nil
	}
	if uuid.Validate(kid) != nil {
		return nil, errForeignKey
	}
	if err := r.reread(); err != nil {
		return nil, ErrUnavailable
	}
	if key := r.known(kid, now); key != nil {
		return key, nil
	}
	return nil, errForeignKey
}

func (r *ring) known(kid string, now time.Time) *verifyKey {
	key := r.state.Load().keys[kid]
	if key == nil || key.over(now) {
		return nil
	}
	return key
}

// Dropped reports whether the key was taken away before its time.
func (k *verifyKey) Dropped() bool { return k.dropped.Load() }

func (k *verifyKey) over(now time.Time) bool {
	until := k.until.Load()
	return k.dropped.Load() || until != 0 && now.Unix() > until
}

// reread returns once a read of the store that began after the call has ended. All
// who wait share it, and the end of it.
func (r *ring) reread() error {
	arrived := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.After(arrived) {
		return r.last
	}
	if pause := rereadEvery - time.Since(r.began); pause > 0 && pause <= rereadEvery {
		<-time.After(pause)
	}
	r.began = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	r.last = r.refresh(ctx)
	return r.last
}

// renew puts a new key in place of the signing key. The old one verifies for as long
// as tokens live that it signed; with keep 0 no key but the new one verifies anything.
func (r *ring) renew(ctx context.Context, now time.Time, keep time.Duration) error {
	fresh, err := newSigner()
	if err != nil {
		return err
	}
	var full bool
	k, err := r.shelf.change(ctx, r.id, func(record *keyRecord) {
		if record.KeyID == fresh.KeyID {
			return // a write whose outcome was unknown had been done
		}
		old := record.outlived(now, keep)
		if full = len(old) > maxOldKeys; !full {
			*record = keyRecord{KeyID: fresh.KeyID, Material: fresh.Material, Old: old}
		}
	})
	if err != nil {
		return err
	}
	if full {
		return ErrTooManyKeys
	}
	return r.adopt(k)
}

// outlived is what remains of the keys when the signing key is replaced.
func (k keyRecord) outlived(now time.Time, keep time.Duration) []oldKey {
	if keep == 0 {
		return nil
	}
	var old []oldKey
	for _, o := range k.Old {
		if o.Until.After(now) {
			old = append(old, o)
		}
	}
	private, err := parseSigner(k.KeyID, k.Material)
	if err != nil {
		return old // it cannot have signed anything
	}
	public, err := x509.MarshalPKIXPublicKey(&private.private.PublicKey)
	if err != nil {
		return old
	}
	return append(old, oldKey{KeyID: k.KeyID, Public: public, Until: now.Add(keep).UTC()})
}

func parseRing(id string, k kept[keyRecord]) (*ringState, error) {
	current, err := parseSigner(k.Value.KeyID, k.Value.Material)
	if err != nil {
		return nil, fmt.Errorf("oauth: signing key %q %w", id, err)
	}
	s := &ringState{version: k.Version, signer: current, keys: map[string]*verifyKey{
		current.id: {id: current.id, public: &current.private.PublicKey},
	}}
	for _, o := range k.Value.Old {
		public, err := parsePublic(o.Public)
		if err != nil || o.KeyID == "" {
			return nil, fmt.Errorf("oauth: an old key of %q cannot be read", id)
		}
		key := &verifyKey{id: o.KeyID, public: public}
		key.until.Store(o.Until.Unix())
		s.keys[o.KeyID] = key
	}
	return s, nil
}

func parsePublic(pkix []byte) (*ecdsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(pkix)
	if err != nil {
		return nil, errors.New("cannot be read")
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("is not a P-256 key")
	}
	return public, nil
}
