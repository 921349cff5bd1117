package logging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whoever takes the file of the audit trail away, or its folder, loses what is in it,
// and nothing that is written afterwards.
func TestLog_ComesBackWhenItsFileIsTakenAway(t *testing.T) {
	t.Parallel()
	for name, takeAway := range map[string]func(t *testing.T, path string){
		"removed":           func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"folder removed":    func(t *testing.T, path string) { require.NoError(t, os.RemoveAll(filepath.Dir(path))) },
		"moved aside":       func(t *testing.T, path string) { require.NoError(t, os.Rename(path, path+".1")) },
		"moved and touched": func(t *testing.T, path string) { require.NoError(t, os.Rename(path, path+".1")); touch(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "logs", "audit.log")
			log, err := Open(Options{JSON: true, Directory: filepath.Dir(path), FileName: "audit.log", Rotation: Daily, MaxSizeMB: 1})
			require.NoError(t, err)
			log.Logger().Info("before")
			require.Eventually(t, func() bool { return strings.Contains(content(path), "before") }, 10*time.Second, time.Millisecond)

			takeAway(t, path)
			log.Logger().Info("after")
			require.NoError(t, log.Close(t.Context()))
			require.Equal(t, 1, strings.Count(content(path), "\n"), content(path))
			require.Contains(t, content(path), "after")
			require.NotContains(t, content(path+".1"), "after")
			require.Zero(t, log.Dropped())
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Zero(t, info.Mode().Perm()&0o027, "%s may be read by others", info.Mode())
		})
	}
}

// While there is no way to write, lines are counted; then it goes on.
func TestLog_CountsLinesWhileItsFolderIsInTheWay(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "logs")
	log, err := Open(Options{JSON: true, Directory: folder, FileName: "audit.log", MaxSizeMB: 1})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(folder))
	touch(t, folder)
	log.Logger().Info("lost")
	require.Eventually(t, func() bool { return log.Dropped() == 1 }, 10*time.Second, time.Millisecond)

	require.NoError(t, os.Remove(folder))
	log.Logger().Info("kept")
	require.NoError(t, log.Close(t.Context()))
	require.Contains(t, content(filepath.Join(folder, "audit.log")), `"lines":1`)
	require.Contains(t, content(filepath.Join(folder, "audit.log")), "kept")
}

// A disk that is full in the middle of a line leaves no half of it, to which the next
// one would be added.
func TestFile_TakesHalfALineBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := Open(Options{JSON: true, Directory: filepath.Dir(path), FileName: "audit.log", MaxSizeMB: 1})
	require.NoError(t, err)
	f := log.queue.output.(*file)
	_, err = f.Write([]byte("one\n"))
	require.NoError(t, err)

	torn, err := f.inner.Write([]byte("tw"))
	require.NoError(t, err)
	require.NoError(t, f.takeBack(int64(torn)))
	_, err = f.Write([]byte("three\n"))
	require.NoError(t, err)
	require.NoError(t, log.Close(t.Context()))
	require.Equal(t, "one\nthree\n", content(path))
}

func touch(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, nil, 0o640))
}

// content of a file, or nothing if there is none.
func content(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}
