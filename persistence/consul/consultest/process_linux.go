package consultest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
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

// stopWithin is generous: a busy machine takes long to let every thread notice.
const stopWithin = 10 * time.Second

// awaitStop returns when no thread of a paused process runs any more: the signal is
// sent before it has arrived, and meanwhile a request may still be answered.
func awaitStop(pid int) error {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(stopWithin); !stopped(pid); <-again.C {
		if time.Now().After(end) {
			return fmt.Errorf("consultest: process %d does not stop", pid)
		}
	}
	return nil
}

func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			continue // it ended
		}
		// "pid (name) state ...", and the name may have anything in it.
		if after := stat[bytes.LastIndexByte(stat, ')')+1:]; len(after) < 2 || after[1] != 'T' {
			return false
		}
	}
	return true
}
