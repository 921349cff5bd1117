package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/internal/enrolment"
	"opensessionmanager/persistence"
)

const kindEnrolment = "enrolment-token"

// Bounds of enrolment tokens.
const (
	MaxEnrolmentTokens   = 1000 // that are shown, also those that are over
	MaxEnrolmentUses     = 1000 // of one token: its record lists the hosts
	MinEnrolmentValidity = time.Minute
	MaxEnrolmentValidity = 30 * 24 * time.Hour
	// enrolmentsShown is how long a token is still shown that nobody can use any more.
	enrolmentsShown = 24 * time.Hour
)

// Errors of Enrolments.
var (
	// ErrUnknownEnrolment: no enrolment token has this id.
	ErrUnknownEnrolment = errors.New("oauth: unknown enrolment token")
	// ErrEnrolmentBounds: a validity or a number of uses that is not allowed.
	ErrEnrolmentBounds = fmt.Errorf("oauth: an enrolment token is valid for 1m to 720h, for 1 to %d hosts", MaxEnrolmentUses)
	// ErrTooManyEnrolments: there are MaxEnrolmentTokens.
	ErrTooManyEnrolments = fmt.Errorf("oauth: there are %d enrolment tokens already; revoke some, or wait until some are a day over", MaxEnrolmentTokens)
)

// Why a token is not taken. The texts are for the host's administrator.
var (
	errEnrolmentUnknown = errors.New("oauth: the enrolment token is not known here or was revoked; ask for another one")
	errEnrolmentExpired = errors.New("oauth: the enrolment token has expired; ask for another one")
	errEnrolmentUsed    = errors.New("oauth: the enrolment token was used already; ask for another one")
	errEnrolmentRevoked = errors.New("oauth: the enrolment token was revoked; ask for another one")
)

// enrolmentRecord is an enrolment token in the store, by its id. Neither the secret nor
// the hosts' nonces are in it.
type enrolmentRecord struct {
	Hash    []byte    `json:"hash"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`
	Revoked bool      `json:"revoked"`
	Agents  []string  `json:"agents"` // client ids of the hosts that used it
}

// Enrolment is an enrolment token as an administrator sees it.
type Enrolment struct {
	ID               string
	Created, Expires time.Time
	UsesLeft         int
	Active           bool // somebody can enrol with it
}

// Enrolments are the one-time tokens with which hosts enrol. A use is a client id in the
// token's record, put there by check-and-set before the client is made, so one use never
// makes two, on whatever brokers. Id and secret of the client follow from the token and a
// nonce of the host's: a host that did not hear the answer asks again, and is given the
// same, whatever had been done of its first try.
type Enrolments struct {
	shelf  shelf[enrolmentRecord]
	hasher hasher
	key    []byte // of clients' ids and secrets
	agents *AgentClients
	now    func() time.Time
	turn   chan struct{} // one use at a time; those of other brokers are met in the store
}

func newEnrolments(cfg Config, agents *AgentClients) *Enrolments {
	return &Enrolments{shelf[enrolmentRecord]{cfg.Store, kindEnrolment}, hasher{cfg.Keys.Secret("enrolment-tokens")},
		cfg.Keys.Secret("enrolled-clients"), agents, cfg.Now, make(chan struct{}, 1)}
}

// Generate makes a token for so many hosts. Nobody can show its text again. The fingerprint
// is that of the authority which signs the certificates of the agent ports.
func (e *Enrolments) Generate(ctx context.Context, validFor time.Duration, uses int, authority enrolment.Fingerprint) (text string, made Enrolment, err error) {
	if validFor < MinEnrolmentValidity || validFor > MaxEnrolmentValidity || uses < 1 || uses > MaxEnrolmentUses {
		return "", Enrolment{}, ErrEnrolmentBounds
	}
	if err := e.clean(ctx); err != nil {
		return "", Enrolment{}, err
	}
	token, now := enrolment.New(authority), e.now().UTC()
	id := token.ID.String()
	record := enrolmentRecord{Hash: e.hasher.hash(id, string(token.Secret[:])), Created: now, Expires: now.Add(validFor), Uses: uses}
	if _, err := e.shelf.create(ctx, id, record); err != nil {
		return "", Enrolment{}, err
	}
	return token.Text(), e.show(id, record), nil
}

// clean removes what has been over for a day, and is ErrTooManyEnrolments if that leaves
// no room.
func (e *Enrolments) clean(ctx context.Context) error {
	all, err := e.shelf.all(ctx)
	if err != nil {
		return err
	}
	left, old := 0, e.now().Add(-enrolmentsShown)
	for _, k := range all {
		if k.Value.Expires.After(old) {
			left++
			continue
		}
		if err := e.shelf.remove(ctx, k.ID); err != nil && !errors.Is(err, persistence.ErrNotFound) {
			return err
		}
	}
	if left >= MaxEnrolmentTokens {
		return ErrTooManyEnrolments
	}
	return nil
}

// Describe lists the tokens, the newest last; those that are over for a day, too.
func (e *Enrolments) Describe(ctx context.Context) ([]Enrolment, error) {
	all, err := e.shelf.all(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Enrolment, len(all))
	for i, k := range all {
		list[i] = e.show(k.ID, k.Value)
	}
	slices.SortStableFunc(list, func(a, b Enrolment) int { return a.Created.Compare(b.Created) })
	return list, nil
}

func (e *Enrolments) show(id string, r enrolmentRecord) Enrolment {
	return Enrolment{ID: id, Created: r.Created, Expires: r.Expires, UsesLeft: r.left(), Active: r.left() > 0 && !r.Revoked && e.now().Before(r.Expires)}
}

func (r enrolmentRecord) left() int { return max(0, r.Uses-len(r.Agents)) }

// Revoke ends a token; hosts that enrolled with it stay, see AgentClients.UnregisterAll.
// ErrUnknownEnrolment if there is none.
func (e *Enrolments) Revoke(ctx context.Context, id string) error {
	if uuid.Validate(id) != nil || len(id) != 36 {
		return ErrUnknownEnrolment
	}
	_, err := e.shelf.change(ctx, id, func(r *enrolmentRecord) { r.Revoked = true })
	if errors.Is(err, persistence.ErrNotFound) {
		return ErrUnknownEnrolment
	}
	if err != nil {
		return err
	}
	return e.agents.epoch.announce(ctx) // so that a store that was put back to before this is noticed
}

// revokeAll ends what a backup brought back: it may have been used or revoked since.
func (e *Enrolments) revokeAll(ctx context.Context) error {
	all, err := e.shelf.all(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Value.Revoked {
			continue
		}
		_, err := e.shelf.change(ctx, k.ID, func(r *enrolmentRecord) { r.Revoked = true })
		if err != nil && !errors.Is(err, persistence.ErrNotFound) {
			return err
		}
	}
	return nil
}

// enrol makes an agent client of a host that has a token. The error is one of the four
// above, ErrInactive if the client was made before and unregistered since, or the store's.
func (e *Enrolments) enrol(ctx context.Context, token enrolment.Token, nonce [enrolment.SecretLen]byte, name string) (id, secret string, err error) {
	id, secret = e.client(token.ID, nonce)
	if err := e.claim(ctx, token, id); err != nil {
		return "", "", err
	}
	if err := e.agents.ensure(ctx, id, secret, name, token.ID.String()); err != nil {
		return "", "", err
	}
	// A token that was revoked meanwhile, with its agents, did not count this one yet.
	k, err := e.shelf.load(ctx, token.ID.String())
	if err != nil {
		return "", "", err // the host asks again
	}
	if k.Value.Revoked {
		if _, err := deactivate(ctx, e.agents.shelf, id); err != nil {
			return "", "", err
		}
		return "", "", errEnrolmentRevoked
	}
	return id, secret, nil
}

// client derives what a host becomes. The nonce is known to the host alone, the key to
// the brokers alone.
func (e *Enrolments) client(token uuid.UUID, nonce [enrolment.SecretLen]byte) (id, secret string) {
	derive := func(what string) uuid.UUID {
		mac := hmac.New(sha256.New, e.key)
		mac.Write([]byte(what))
		mac.Write(token[:])
		mac.Write(nonce[:])
		made := uuid.UUID(mac.Sum(nil)[:16])
		made[6], made[8] = made[6]&0x0f|0x40, made[8]&0x3f|0x80 // the form of a random one
		return made
	}
	return derive("id").String(), base64.StdEncoding.EncodeToString([]byte(derive("secret").String()))
}

// claim counts a use for a client, once. The store decides among brokers.
func (e *Enrolments) claim(ctx context.Context, token enrolment.Token, client string) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return fmt.Errorf("oauth: use an enrolment token: %w", ctx.Err())
	}
	id := token.ID.String()
	for {
		k, err := e.shelf.load(ctx, id)
		if err != nil && !errors.Is(err, persistence.ErrNotFound) {
			return err
		}
		if !e.hasher.matches(k.Value.Hash, id, string(token.Secret[:])) { // takes as long if there is none
			return errEnrolmentUnknown
		}
		counted := slices.Contains(k.Value.Agents, client)
		switch {
		case k.Value.Revoked:
			return errEnrolmentRevoked
		case !e.now().Before(k.Value.Expires):
			return errEnrolmentExpired
		case counted:
			return nil
		case k.Value.left() == 0:
			return errEnrolmentUsed
		}
		data, err := edited(&k, func(r *enrolmentRecord) { r.Agents = append(r.Agents, client) })
		if err != nil {
			return fmt.Errorf("oauth: encode %s: %w", kindEnrolment, err)
		}
		_, err = e.shelf.store.Save(ctx, persistence.Record{Key: persistence.Key{Kind: kindEnrolment, ID: id}, Version: k.Version, Data: data})
		if err == nil {
			return nil
		}
		// Somebody was faster, or nobody knows: the record says which. ctx bounds it.
		if !errors.Is(err, persistence.ErrConflict) && !errors.Is(err, persistence.ErrUncertain) {
			return fmt.Errorf("oauth: use an enrolment token: %w", err)
		}
	}
}
