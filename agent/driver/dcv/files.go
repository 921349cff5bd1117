package dcv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"opensessionmanager/agent/driver"
)

// resolve finds the file that a request names relative to folder, and returns a
// path without symbolic links (F30). The name is opened below the folder first,
// which refuses "..", absolute names and links that lead out, in one step; then the
// links are resolved and the result must be the very file that was opened. So what
// runs later is what was checked, however names are swapped afterwards.
func resolve(folder, name string) (path string, err error) {
	if folder == "" {
		return "", fmt.Errorf("%w: no folder is configured for %q", driver.ErrBadFile, name)
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%w: %q must be relative to %s and stay below it", driver.ErrBadFile, name, folder)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrBadFile, err)
	}
	defer root.Close()
	// Stat first: opening a named pipe would wait for its other end.
	if err := checkFile(root.Stat(name)); err != nil {
		return "", fmt.Errorf("%w: %q: %w", driver.ErrBadFile, name, err)
	}
	file, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", driver.ErrBadFile, name, err)
	}
	defer file.Close()
	opened, err := file.Stat()
	if err := checkFile(opened, err); err != nil {
		return "", fmt.Errorf("%w: %q: %w", driver.ErrBadFile, name, err)
	}
	path, err = filepath.EvalSymlinks(filepath.Join(folder, name))
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", driver.ErrBadFile, name, err)
	}
	now, err := os.Lstat(path)
	if err != nil || !os.SameFile(opened, now) {
		return "", fmt.Errorf("%w: %q changed while it was looked at", driver.ErrBadFile, name)
	}
	return filepath.Abs(path)
}

// checkFile accepts an executable program that not everybody may rewrite: it
// will run as the session's owner.
func checkFile(info os.FileInfo, err error) error {
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case info.Mode().Perm()&0o111 == 0:
		return errors.New("not executable")
	case info.Mode().Perm()&0o002 != 0:
		return errors.New("writable by everybody")
	}
	return nil
}

// create writes a new file that nobody else has, with the given mode.
func create(path, content string, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("dcv: %w", err)
	}
	_, err = io.WriteString(file, content)
	if err == nil {
		err = file.Chmod(mode) // whatever the umask says
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("dcv: %w", err)
	}
	return nil
}
