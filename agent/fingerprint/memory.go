package fingerprint

import (
	"context"
	"math"

	"github.com/shirou/gopsutil/v4/mem"
)

// memory returns sizes in bytes, 0 where unknown.
func memory(ctx context.Context) (total, used, swapTotal, swapUsed int64) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		total, used = size(m.Total), size(m.Used)
	}
	if s, err := mem.SwapMemoryWithContext(ctx); err == nil {
		swapTotal, swapUsed = size(s.Total), size(s.Used)
	}
	return total, used, swapTotal, swapUsed
}

func size(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
