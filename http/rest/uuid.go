package rest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/google/uuid"
)

const uuidLength = 36

// appendRandomUUID appends an id for a request. It is unique, not secret, so it
// comes from the fast generator.
func appendRandomUUID(b []byte) []byte {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return appendUUID(b, withVersion(id, 4))
}

func withVersion(id uuid.UUID, version byte) uuid.UUID {
	id[6] = id[6]&0x0f | version<<4
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}

func appendUUID(b []byte, id uuid.UUID) []byte {
	for i, group := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, group)
	}
	return b
}

// sessionIDs makes the ids of new sessions.
type sessionIDs struct{ secret []byte }

func newSessionIDs(secret []byte) sessionIDs {
	return sessionIDs{derive(secret, "session ids")}
}

// next returns a random id, or, with an Idempotency-Key, always the same one for
// the same caller, key and item: a repeated request then meets the sessions of
// the first. Nobody without the secret can compute it.
func (s sessionIDs) next(caller, key string, item int) string {
	if key == "" {
		return uuid.NewString()
	}
	mac := hmac.New(sha256.New, s.secret)
	for _, part := range []string{caller, key} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(item)))
	return withVersion(uuid.UUID(mac.Sum(nil)[:16]), 8).String()
}

// derive makes the key of one purpose from the secret of the fleet.
func derive(secret []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("opensessionmanager/http/rest: " + purpose))
	return mac.Sum(nil)
}
