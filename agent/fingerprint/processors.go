package fingerprint

import (
	"context"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"

	"opensessionmanager/messages"
)

// processors counts as the vendor's sample does (contract section 1.2: 4 CPUs with
// 2 cores is a machine of 4 hardware threads on 2 cores of one socket).
func processors(ctx context.Context) *messages.Cpu {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := &messages.Cpu{Architecture: architecture(runtime.GOARCH), NumberOfCpus: int32(runtime.NumCPU())}
	if logical, err := cpu.CountsWithContext(ctx, true); err == nil && logical > 0 {
		found.NumberOfCpus = int32(logical)
	}
	sockets := map[string]bool{}
	if infos, err := cpu.InfoWithContext(ctx); err == nil && len(infos) > 0 {
		found.Vendor, found.ModelName = clean(infos[0].VendorID), clean(infos[0].ModelName)
		for _, info := range infos {
			sockets[info.PhysicalID] = true
		}
	}
	if cores, err := cpu.CountsWithContext(ctx, false); err == nil && cores > 0 {
		found.PhysicalCoresPerCpu = int32(max(1, cores/max(1, len(sockets))))
	}
	return found
}

func architecture(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goarch
}
