//go:build !linux

package main

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: the programs that are started end their own children.
func ownGroup(*exec.Cmd) {}

// endGroup asks a process to end, where the system knows how to ask.
func endGroup(p *os.Process) {
	if p.Signal(os.Interrupt) != nil {
		_ = p.Kill()
	}
}

// killGroup ends a process without asking.
func killGroup(p *os.Process) { _ = p.Kill() }
