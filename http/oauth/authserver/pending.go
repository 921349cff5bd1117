package authserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Installers register an authorization server before they start the broker for the
// first time. The command then leaves a note in the broker's working path, one file
// for each server, and the broker takes it in when it starts.

const (
	pendingPattern = "pending-auth-server-*.json"
	maxPending     = 64
	maxPendingSize = 16 << 10 // bytes
)

// ErrPending: a note is not what the command leaves.
var ErrPending = errors.New("authserver: unusable note")

// Pend leaves a note for the broker of a working path, which has to exist. Only the
// owner of that folder can read it; noting the same URL again replaces the note.
func Pend(dir string, server Server) error {
	if err := server.Check(); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("authserver: %w", err)
	}
	data, err := json.MarshalIndent(server, "", "  ")
	if err != nil {
		return fmt.Errorf("authserver: encode note: %w", err)
	}
	file, err := os.CreateTemp(dir, ".auth-server-*") // mode 0600
	if err != nil {
		return fmt.Errorf("authserver: %w", err)
	}
	_, err = file.Write(append(data, '\n'))
	err = errors.Join(err, giveTo(file, info), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), pendingFile(dir, server.URL))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("authserver: leave note: %w", err)
	}
	return nil
}

// Withdraw takes a note back, and reports whether there was one.
func Withdraw(dir, url string) (bool, error) {
	err := os.Remove(pendingFile(dir, url))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("authserver: %w", err)
	}
	return true, nil
}

// TakePending hands each note to register and removes it once that has worked, so
// nothing is lost if the broker ends in between. Errors of all notes are joined; one
// that is not fit is left where it is.
func TakePending(dir string, register func(Server) error) error {
	files, err := pendingFiles(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		server, err := readPending(file)
		if err == nil {
			err = register(server)
		}
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(file), err))
		}
	}
	return errors.Join(errs...)
}

func pendingFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("authserver: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if ok, _ := filepath.Match(pendingPattern, entry.Name()); ok && len(files) < maxPending {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

// readPending believes only files that nobody but their owner can have changed.
func readPending(path string) (server Server, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return server, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !trusted(info) {
		return server, fmt.Errorf("%w: it must be a file with mode 0600 of the broker's user or root", ErrPending)
	}
	file, err := os.Open(path)
	if err != nil {
		return server, err
	}
	defer func() { _ = file.Close() }()
	if opened, err := file.Stat(); err != nil || !os.SameFile(info, opened) {
		return server, fmt.Errorf("%w: it changed while it was opened", ErrPending)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPendingSize))
	if err != nil {
		return server, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&server) != nil {
		return server, fmt.Errorf("%w: it cannot be read", ErrPending)
	}
	return server, server.Check()
}

func pendingFile(dir, url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(dir, "pending-auth-server-"+hex.EncodeToString(sum[:8])+".json")
}
