//go:build !unix

package e2e

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }
func killGroup(p *os.Process)        { _ = p.Kill() }
func askToEnd(p *os.Process)         { _ = p.Kill() }
