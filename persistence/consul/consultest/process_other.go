//go:build !linux

package consultest

import (
	"os/exec"
	"syscall"
)

// Elsewhere a server cannot be paused by a signal that every system has: 0 does nothing.
const (
	pause  = syscall.Signal(0)
	resume = syscall.Signal(0)
)

// dieWithUs does nothing: a test that crashes leaves the server behind.
func dieWithUs(*exec.Cmd) {}

// awaitStop does nothing, as pause does.
func awaitStop(int) error { return nil }
