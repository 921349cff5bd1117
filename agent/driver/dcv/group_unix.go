//go:build unix

package dcv

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the command the leader of a process group, and the end of its
// context the end of the group: dcv may be a wrapper around the real program.
func ownGroup(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error {
		return syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	}
}
