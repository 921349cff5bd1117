package oauth

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	cacheSets = 2048
	cacheWays = 4
)

// cache remembers tokens whose signature was checked: 8,192 at most, about 1 MB.
// It holds hashes, not tokens. Reads take no lock. Only tokens that verified get
// in, so a stranger cannot push others out; what is pushed out is verified again.
type cache struct {
	sets [cacheSets][cacheWays]atomic.Pointer[verified]
}

type verified struct {
	sum   [sha256.Size]byte
	until int64 // Unix nanoseconds
	*grant
}

// grant is what a token gives, for as long as nobody takes it away.
type grant struct {
	principal Principal
	client    *client // nil: of an external authorization server
	key       interface{ Dropped() bool }
}

// maxCached is how long an entry counts at most. It keeps dates in reach of an int64.
const maxCached = time.Hour

func (c *cache) get(sum *[sha256.Size]byte, now time.Time) (*grant, bool) {
	set := c.set(sum)
	for i := range set {
		if v := set[i].Load(); v != nil && v.sum == *sum {
			return v.grant, now.UnixNano() < v.until
		}
	}
	return nil, false
}

// put replaces an entry that is empty, over or of the same token; failing that
// one chosen by the hash, which is as good as chance.
func (c *cache) put(sum [sha256.Size]byte, g *grant, until, now time.Time) {
	set := c.set(&sum)
	if latest := now.Add(maxCached); until.After(latest) {
		until = latest
	}
	place := int(sum[31]) % cacheWays
	for i := range set {
		v := set[i].Load()
		if v == nil || v.until <= now.UnixNano() || v.sum == sum {
			place = i
			break
		}
	}
	set[place].Store(&verified{sum: sum, until: until.UnixNano(), grant: g})
}

func (c *cache) set(sum *[sha256.Size]byte) *[cacheWays]atomic.Pointer[verified] {
	return &c.sets[binary.LittleEndian.Uint64(sum[:8])%cacheSets]
}
