package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// F48: each file of testdata/bad is refused with exactly the lines of its .want file.
func TestLoad_BadFilesAndTheirMessages(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.properties")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(file, ".properties") + ".want")
			require.NoError(t, err)
			path := write(t, string(data))
			_, _, err = Load(path)
			require.ErrorIs(t, err, ErrInvalid)
			require.Equal(t, strings.TrimSpace(string(want)), strings.ReplaceAll(err.Error(), path, "FILE"))
		})
	}
}

// Each file of testdata/odd is accepted with exactly the warnings of its .want file.
func TestLoad_OddFilesAndTheirWarnings(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/odd/*.properties")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(file, ".properties") + ".want")
			require.NoError(t, err)
			path := write(t, string(data))
			_, warnings, err := Load(path)
			require.NoError(t, err)
			var got []string
			for _, w := range warnings {
				got = append(got, w.Level.String()+" "+strings.ReplaceAll(w.String(), path, "FILE"))
			}
			require.Equal(t, strings.TrimSpace(string(want)), strings.Join(got, "\n"))
		})
	}
}

func TestLoad_SecondsWinOverHours(t *testing.T) {
	t.Parallel()
	cfg, warnings, err := Load(write(t, "delete-session-duration-hours = 0\ndelete-session-duration-seconds = 90\n"))
	require.NoError(t, err)
	require.Equal(t, 90*time.Second, cfg.Sessions.KeepDeleted)
	require.Len(t, warnings, 1)
	require.Equal(t, slog.LevelWarn, warnings[0].Level)
}

func TestLoad_TheSampleFileMeansTheDefaults(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, Sample(&b))
	cfg, warnings, err := Load(write(t, b.String()))
	require.NoError(t, err)
	require.Empty(t, warnings)
	cfg.File = ""
	require.Equal(t, Default(), cfg)
}

func TestLoad_UncommentedSampleMeansTheDefaults(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, Sample(&b))
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			lines[i] = line[1:]
		}
	}
	cfg, warnings, err := Load(write(t, strings.Join(lines, "\n")))
	require.NoError(t, err)
	require.Empty(t, warnings)
	cfg.File = ""
	require.Equal(t, Default(), cfg)
}

func TestLoad_RelativePathsStartAtTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, "log-directory = logs\nsession-manager-working-path = ../work\n")
	cfg, _, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, Path(filepath.Join(filepath.Dir(path), "logs")), cfg.Logging.Directory)
	require.Equal(t, Path(filepath.Join(filepath.Dir(filepath.Dir(path)), "work")), cfg.Storage.WorkingPath)
}

func TestLoad_RefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	_, _, err := Load(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = Load(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
	_, _, err = Load(write(t, strings.Repeat("# long\n", maxFileSize/7+1)))
	require.ErrorContains(t, err, "larger than")
}

// Contract section 6: the broker checks the file's permissions and refuses. F48.
func TestLoad_ChecksPermissions(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("mode bits mean nothing on Windows")
	}
	const secret = "client-to-broker-connector-key-store-pass = hush\n"
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"as documented", secret, 0o640, ""},
		{"owner only", secret, 0o400, ""},
		{"everybody may read what is no secret", "log-level = info\n", 0o644, ""},
		{"an empty password is no secret", "jdbc-password =\n", 0o644, ""},
		{"everybody may read a password", secret, 0o644, "its mode 0644 lets everybody read the passwords in it"},
		{"the group may write", "log-level = info\n", 0o660, "its mode 0660 lets others change it"},
		{"everybody may write", "log-level = info\n", 0o602, "its mode 0602 lets others change it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.text)
			require.NoError(t, os.Chmod(path, c.mode))
			_, _, err := Load(path)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrInvalid)
			require.Contains(t, err.Error(), c.want)
			require.Contains(t, err.Error(), "chmod 0640")
		})
	}
}

func TestLoad_RefusesAFileOfAStranger(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := write(t, "log-level = info\n")
	require.NoError(t, os.Chown(path, 12345, -1))
	_, _, err := Load(path)
	require.ErrorContains(t, err, "belongs neither to root nor to the user of this process")
}

func TestSecret_NeverPrints(t *testing.T) {
	t.Parallel()
	path := write(t, "client-to-broker-connector-key-store-pass = hush-hush\njdbc-password = hush-hush\n")
	cfg, _, err := Load(path)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("read", "pass", cfg.Client.KeyStorePass, "all", cfg)
	encoded, err := json.Marshal(cfg)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %v %s %q", cfg, *cfg, cfg.Client, cfg.Client.KeyStorePass, cfg.Client.KeyStorePass), log.String(), string(encoded)} {
		require.NotContains(t, text, "hush-hush")
	}
	require.Equal(t, "hush-hush", cfg.Client.KeyStorePass.Reveal())
}

func TestReference_IsUpToDate(t *testing.T) {
	t.Parallel()
	for file, generate := range map[string]func(*strings.Builder) error{
		"../../deploy/CONFIG.md":                         func(b *strings.Builder) error { return Reference(b) },
		"../../deploy/session-manager-broker.properties": func(b *strings.Builder) error { return Sample(b) },
	} {
		var b strings.Builder
		require.NoError(t, generate(&b))
		have, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(have), b.String(), "%s is old: run make generate", file)
	}
}
