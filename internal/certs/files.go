package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFileSize bounds every file that is read: key stores of operators included.
const maxFileSize = 1 << 20

// readFile is os.ReadFile with a bound, for regular files only: opening a pipe
// could block for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileSize)
	}
	return data, err
}

// readSecret is readFile for a file of ours with a private key, which it takes away
// from everybody else first: a copy may have been careless.
func readSecret(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, err
		}
	}
	return readFile(path)
}

// writeFile replaces path in one step that survives a crash.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, os.Rename)
}

// createFile makes path in one step; if there is one already, whoever made it, that
// one stays and the error is fs.ErrExist.
func createFile(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, func(from, to string) error {
		err := os.Link(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		// Some shares know no links. There two that begin in the same instant may both
		// succeed; the one whose file was replaced takes the other at its next refresh.
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		}
		return os.Rename(from, to)
	})
}

func place(path string, data []byte, mode fs.FileMode, as func(from, to string) error) error {
	folder := filepath.Dir(path)
	temporary, err := os.CreateTemp(folder, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // after a rename there is nothing to remove
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	if err := as(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(folder)
}

func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	// Not every system can sync a folder, and the certificate can be made again.
	_ = f.Sync()
	return f.Close()
}
