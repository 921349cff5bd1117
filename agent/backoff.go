package agent

import (
	"math/rand/v2"
	"time"
)

// backoff spaces attempts with full jitter, so that agents which lost the same
// broker do not come back together (expectation F15).
type backoff struct {
	base     time.Duration
	attempts int
	random   func(n int64) int64 // uniform in [0, n)
}

func newBackoff(base time.Duration) *backoff {
	return &backoff{base: base, random: rand.Int64N}
}

// next returns how long to wait before the coming attempt: anything below the
// base at first, below a bound that doubles up to limit later.
func (b *backoff) next(limit time.Duration) time.Duration {
	bound := b.base
	for i := 0; i < b.attempts && bound < limit; i++ {
		bound *= 2
	}
	b.attempts++
	return time.Duration(b.random(int64(max(1, min(bound, limit)))))
}

func (b *backoff) reset() { b.attempts = 0 }
