package fingerprint

import (
	"context"
	"os"
	"strconv"

	"github.com/shirou/gopsutil/v4/host"
)

// BootID returns what changes when the host boots: the kernel's boot id, where
// there is none the boot time, to the minute since it is computed from clocks.
func BootID(ctx context.Context) string {
	if content, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return clean(string(content))
	}
	seconds, err := host.BootTimeWithContext(ctx)
	if err != nil {
		return ""
	}
	return "boot-" + strconv.FormatUint((seconds+30)/60, 10)
}
