package consultest

import (
	"os/exec"
	"syscall"
)

const (
	pause  = syscall.SIGSTOP
	resume = syscall.SIGCONT
)

// dieWithUs has the kernel kill the process when the thread that made it ends, so
// that a test which crashes leaves nothing behind.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
