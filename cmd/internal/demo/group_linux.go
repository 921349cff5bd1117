package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes a process the leader of its group, so that a Ctrl-C on the terminal
// reaches only the demonstration, which then ends the others in good order. Should
// it be killed itself, the kernel tells them.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// endGroup asks a process and its children to end.
func endGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killGroup ends them without asking: kill -9.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
