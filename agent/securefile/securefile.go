// Package securefile writes small files that only the agent may write, such that a crash
// leaves the old content or the new one and never a part.
package securefile

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path, mode 0600: only the agent may read it. It creates its folder with mode
// 0711: session owners must pass through to the init and autorun files in it.
func Write(path string, content []byte) error { return write(path, content, 0o600) }

// WritePublic is Write of what everybody may read, as the DCV server reads the brokers'
// authority, and nobody else may write.
func WritePublic(path string, content []byte) error { return write(path, content, 0o644) }

func write(path string, content []byte, mode os.FileMode) (err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return fmt.Errorf("securefile: %w", err)
	}
	temporary, err := os.CreateTemp(folder, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("securefile: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name())
		}
	}()
	_, err = temporary.Write(content)
	if err == nil && mode != 0o600 {
		err = temporary.Chmod(mode)
	}
	if err == nil {
		err = temporary.Sync()
	}
	if cerr := temporary.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("securefile: %w", err)
	}
	return nil
}
