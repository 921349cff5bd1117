package fingerprint

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"strings"

	"github.com/shirou/gopsutil/v4/host"

	"opensessionmanager/messages"
)

// system describes the operating system in the words of contract section 1.2.
func system(ctx context.Context) *messages.Os {
	platform, _, version, _ := host.PlatformInformationWithContext(ctx)
	found := &messages.Os{Family: family(runtime.GOOS), Name: clean(platform), Version: clean(version)}
	switch runtime.GOOS {
	case "linux":
		if name, release := osRelease("/etc/os-release"); name != "" {
			found.Name, found.Version = name, release
		}
		kernel, _ := host.KernelVersionWithContext(ctx)
		found.KernelVersion = clean(kernel)
	case "windows": // "Microsoft Windows Server 2016 Datacenter", "10.0.14393 Build 14393"
		found.Name = strings.TrimPrefix(found.Name, "Microsoft ")
		found.Version, found.BuildNumber = windowsVersion(version)
	}
	return found
}

func family(goos string) string {
	if goos == "darwin" {
		return "macos"
	}
	return goos
}

func windowsVersion(text string) (version, build string) {
	version, _, _ = strings.Cut(clean(text), " ")
	parts := strings.Split(version, ".")
	if len(parts) < 3 {
		return version, ""
	}
	return strings.Join(parts[:3], "."), parts[2]
}

// osRelease reads NAME and VERSION_ID, as in "Amazon Linux" and "2".
func osRelease(path string) (name, version string) {
	file, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 0; n < 100 && lines.Scan(); n++ {
		key, value, _ := strings.Cut(lines.Text(), "=")
		value = clean(strings.Trim(value, `"'`))
		switch key {
		case "NAME":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return clean(name)
}
