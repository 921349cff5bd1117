//go:build !unix

package dcv

import "os/exec"

// ownGroup leaves the default: the end of the context kills the command itself.
func ownGroup(*exec.Cmd) {}
