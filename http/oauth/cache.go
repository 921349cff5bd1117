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
	sum    [sha256.Size]byte
	until  int64 // Unix nanoseconds
	client *client
}

func (c *cache) get(sum *[sha256.Size]byte, now time.Time) (*client, bool) {
	set := c.set(sum)
	for i := range set {
		if v := set[i].Load(); v != nil && v.sum == *sum {
			return v.client, now.UnixNano() < v.until
		}
	}
	return nil, false
}

// put replaces an entry that is empty, over or of the same token; failing that
// one chosen by the hash, which is as good as chance.
func (c *cache) put(sum [sha256.Size]byte, cl *client, until, now time.Time) {
	set := c.set(&sum)
	place := int(sum[31]) % cacheWays
	for i := range set {
		v := set[i].Load()
		if v == nil || v.until <= now.UnixNano() || v.sum == sum {
			place = i
			break
		}
	}
	set[place].Store(&verified{sum: sum, until: until.UnixNano(), client: cl})
}

func (c *cache) set(sum *[sha256.Size]byte) *[cacheWays]atomic.Pointer[verified] {
	return &c.sets[binary.LittleEndian.Uint64(sum[:8])%cacheSets]
}
