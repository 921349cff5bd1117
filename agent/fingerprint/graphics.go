package fingerprint

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"opensessionmanager/messages"
)

const mostGPUs = 32

// graphics asks NVIDIA's own tool, which knows model names, and else looks at the
// PCI bus.
func graphics(ctx context.Context) []*messages.Gpu {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
	command.WaitDelay = time.Second
	if out, err := command.Output(); err == nil {
		if gpus := parseNvidia(out); len(gpus) > 0 {
			return gpus
		}
	}
	return pciGraphics("/sys/bus/pci/devices")
}

func parseNvidia(output []byte) []*messages.Gpu {
	var gpus []*messages.Gpu
	for line := range strings.Lines(string(output[:min(len(output), 64<<10)])) {
		if name := clean(line); name != "" && len(gpus) < mostGPUs {
			gpus = append(gpus, &messages.Gpu{Vendor: "NVIDIA Corporation", ModelName: name})
		}
	}
	return gpus
}

// pciGraphics lists display controllers (PCI class 03).
func pciGraphics(folder string) []*messages.Gpu {
	devices, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return nil
	}
	var gpus []*messages.Gpu
	for _, device := range devices {
		if !strings.HasPrefix(value(device, "class"), "0x03") || len(gpus) == mostGPUs {
			continue
		}
		vendor, model := value(device, "vendor"), value(device, "device")
		gpus = append(gpus, &messages.Gpu{Vendor: vendorName(vendor), ModelName: "PCI device " + vendor + ":" + model})
	}
	return gpus
}

func value(device, name string) string {
	content, err := os.ReadFile(filepath.Join(device, name))
	if err != nil {
		return ""
	}
	return clean(string(content))
}

func vendorName(id string) string {
	switch id {
	case "0x10de":
		return "NVIDIA Corporation"
	case "0x1002":
		return "Advanced Micro Devices, Inc."
	case "0x8086":
		return "Intel Corporation"
	case "0x1d0f":
		return "Amazon.com, Inc."
	}
	return id
}
