//go:build unix

package e2e

import (
	"os"
	"syscall"
)

// killGroup is kill -9 of a process and its children.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

func askToEnd(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }
