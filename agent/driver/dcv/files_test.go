//go:build unix

package dcv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// F30: names that lead out of the folder, by whatever way, and files that nobody
// should run.
func TestFiles_HostileNamesAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	outside := s.file("outside/evil.sh", "#!/bin/sh\n", 0o755)
	s.file("init/plain.txt", "text", 0o644)
	s.file("init/open.sh", "#!/bin/sh\n", 0o777)
	require.NoError(t, os.Mkdir(filepath.Join(s.folder, "init/folder"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(s.folder, "init/link.sh")))
	require.NoError(t, os.Symlink(filepath.Join(s.folder, "outside"), filepath.Join(s.folder, "init/linked")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.folder, "init/pipe"), 0o755))
	for _, name := range []string{
		"../outside/evil.sh", "folder/../../outside/evil.sh", outside, "/bin/sh", "link.sh", "linked/evil.sh",
		"folder", "plain.txt", "open.sh", "pipe", "missing.sh", ".", "..", "a\x00b",
	} {
		err := s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.InitFile = name }))
		require.ErrorIs(t, err, driver.ErrBadFile, name)
	}
	require.NoFileExists(t, filepath.Join(s.folder, "calls"), "dcv must not have been called")
}

// A link that stays inside is fine, and what is passed on is the file behind it:
// swapping the link afterwards changes nothing.
func TestFiles_LinksAreResolvedBeforeUse(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	real := s.file("init/v2/start.sh", "#!/bin/sh\n", 0o755)
	require.NoError(t, os.Symlink("v2", filepath.Join(s.folder, "init/current")))
	require.NoError(t, s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.InitFile = "current/start.sh" })))
	require.Contains(t, s.calls()[0].Arguments, real)
}

func wrapperOf(t *testing.T, s *stage) string {
	t.Helper()
	arguments := s.calls()[0].Arguments
	i := indexOf(arguments, "--init")
	require.Positive(t, i)
	return arguments[i+1]
}

// Contract section 11: autorun through a generated init script.
func TestAutorun_WrapperStartsTheProgramAndTheDesktop(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	out := filepath.Join(s.folder, "out")
	s.file("autorun/app.sh", "#!/bin/sh\nfor a in \"$@\"; do printf '<%s>' \"$a\"; done > "+out+".part && mv "+out+".part "+out+"\n", 0o755)
	s.file("init/desktop.sh", "#!/bin/sh\nwait_for() { :; }\necho desktop \"$@\" > "+out+".desktop\n", 0o755)
	hostile := []string{"two words", "it's", "$(id)", "`id`", "a\nb", "", "-x", "\\"}
	require.NoError(t, s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) {
		r.InitFile, r.AutorunFile, r.AutorunFileArguments = "desktop.sh", "app.sh", hostile
	})))
	wrapper := wrapperOf(t, s)
	info, err := os.Stat(wrapper)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.NoError(t, exec.Command("sh", wrapper, "given").Run())
	require.Eventually(t, func() bool { _, err := os.Stat(out); return err == nil }, 30*time.Second, time.Millisecond, "the program must run")
	ran, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "<"+strings.Join(hostile, "><")+">", string(ran))
	desktop, err := os.ReadFile(out + ".desktop")
	require.NoError(t, err)
	require.Equal(t, "desktop given\n", string(desktop))

	require.NoError(t, s.driver().Close(t.Context(), "s-1"))
	require.NoFileExists(t, wrapper, "it goes with its session")
}

func TestAutorun_WithoutADesktopWaitsForTheProgram(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	s.config.DefaultInit = filepath.Join(s.folder, "no-desktop-here")
	out := filepath.Join(s.folder, "out")
	s.file("autorun/app.sh", "#!/bin/sh\necho ran > "+out+"\n", 0o755)
	require.NoError(t, s.driver().Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.AutorunFile = "app.sh" })))
	require.NoError(t, exec.Command("sh", wrapperOf(t, s)).Run())
	require.FileExists(t, out)
}

func TestAutorun_LeftoversAreSwept(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]act{"list-sessions": {Stdout: `[{"id":"s-1","owner":"alice","type":"virtual"}]`}})
	s.file("autorun/app.sh", "#!/bin/sh\n", 0o755)
	d := s.driver()
	for _, id := range []string{"s-1", "s-2"} {
		require.NoError(t, d.Create(t.Context(), spec(func(r *messages.CreateSessionRequest) { r.SessionId, r.AutorunFile = id, "app.sh" })))
	}
	s.file("work/permissions-old", "secret", 0o600)
	s.file("work/keep-me", "not ours", 0o600)
	_, err := d.List(t.Context())
	require.NoError(t, err)
	require.Len(t, names(t, s), 4, "young files may be of a create that is going on")
	old := time.Now().Add(-time.Hour)
	for _, name := range names(t, s) {
		require.NoError(t, os.Chtimes(filepath.Join(s.config.WorkFolder, name), old, old))
	}
	_, err = d.List(t.Context())
	require.NoError(t, err)
	require.Len(t, names(t, s), 2, "the living session's and what is not ours")
}

func names(t *testing.T, s *stage) []string {
	t.Helper()
	entries, err := os.ReadDir(s.config.WorkFolder)
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
