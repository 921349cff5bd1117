//go:build !unix

package authserver

import (
	"io/fs"
	"os"
)

func giveTo(*os.File, fs.FileInfo) error { return nil }

func trusted(fs.FileInfo) bool { return true }
