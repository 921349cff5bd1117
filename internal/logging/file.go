package logging

import (
	"errors"
	"os"

	"github.com/DeRuina/timberjack"
)

// file is a log file with rotation that comes back when somebody takes it away: an
// operator who tidies up, another program that rotates, a folder that is gone. Without
// that lines would go, uncounted, into a file that has no name any more until the next
// rotation. Only one goroutine may write.
type file struct {
	path  string
	begin func() *timberjack.Logger // which cannot be used again once it is closed
	inner *timberjack.Logger
	known os.FileInfo // of what was last written to; nil: nothing yet
}

func newFile(path string, begin func() *timberjack.Logger) *file {
	return &file{path: path, begin: begin, inner: begin()}
}

// Write writes one line. An error means that nothing of it is in the file.
func (f *file) Write(line []byte) (int, error) {
	if err := f.look(); err != nil {
		return 0, err
	}
	n, err := f.inner.Write(line)
	if err != nil && n > 0 {
		return 0, errors.Join(err, f.takeBack(int64(n)))
	}
	return n, err
}

// look makes the file anew if the path names another one, or none.
func (f *file) look() error {
	now, err := os.Stat(f.path)
	switch {
	case err == nil && (f.known == nil || os.SameFile(now, f.known)):
		f.known = now
		return nil
	case err != nil:
		if err := probe(f.path); err != nil {
			return err
		}
	}
	return f.again() // also after a rotation of our own, which is rare
}

// again begins with what the path names now.
func (f *file) again() error {
	f.known = nil
	err := f.inner.Close()
	f.inner = f.begin()
	return err
}

// takeBack removes the beginning of a line whose end found no room: the next one would
// go on where it stops, and a program that reads lines could read neither.
func (f *file) takeBack(n int64) error {
	info, err := os.Stat(f.path)
	if err != nil || info.Size() < n {
		return err
	}
	if err := os.Truncate(f.path, info.Size()-n); err != nil {
		return err
	}
	return f.again()
}

// Close ends the file and what rotates it.
func (f *file) Close() error { return f.inner.Close() }
