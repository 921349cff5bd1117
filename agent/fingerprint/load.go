package fingerprint

import (
	"context"
	"math"

	"github.com/shirou/gopsutil/v4/load"
)

// average returns the load averages, 0 where the system has none.
func average(ctx context.Context) (one, five, fifteen float32) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	avg, err := load.AvgWithContext(ctx)
	if err != nil {
		return 0, 0, 0
	}
	return finite(avg.Load1), finite(avg.Load5), finite(avg.Load15)
}

func finite(f float64) float32 {
	if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 || f > math.MaxFloat32 {
		return 0
	}
	return float32(f)
}
