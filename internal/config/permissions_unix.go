//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerIsTrusted reports whether the file belongs to root or to this process's user.
func ownerIsTrusted(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Uid == 0 || int(stat.Uid) == os.Geteuid()
}

// writable asks the system whether this user may make files in the folder.
func writable(folder string) bool {
	const mayWriteAndSearch = 2 | 1
	return syscall.Access(folder, mayWriteAndSearch) == nil
}
