package e2e

import "syscall"

// ownGroup lets a process be killed together with its children. The kernel kills it when
// the test process dies without a word, as in a panic or a timeout.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
