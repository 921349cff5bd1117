package config

import (
	"fmt"
	"io/fs"
	"runtime"
)

// checkPermissions refuses a file that others could change, or passwords that
// others can read. The vendor's broker refuses as well (contract section 6).
func (l *loader) checkPermissions(info fs.FileInfo) {
	if runtime.GOOS == "windows" {
		return // its mode bits say nothing about who may read
	}
	mode := info.Mode().Perm()
	problem := Problem{File: l.file, Fix: "run: chown root:dcvsmbroker FILE && chmod 0640 FILE"}
	switch {
	case mode&0o022 != 0:
		problem.Text = fmt.Sprintf("its mode %04o lets others change it", mode)
	case mode&0o004 != 0 && l.hasSecrets():
		problem.Text = fmt.Sprintf("its mode %04o lets everybody read the passwords in it", mode)
	case !ownerIsTrusted(info):
		problem.Text = "it belongs neither to root nor to the user of this process"
	default:
		return
	}
	l.problems = append(l.problems, problem)
}

func (l *loader) hasSecrets() bool {
	for _, o := range l.options {
		if o.line != 0 && o.field.Type() == secretType && o.field.String() != "" {
			return true
		}
	}
	return false
}
