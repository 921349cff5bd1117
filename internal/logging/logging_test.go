package logging

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged returns what a function logged, with the time stamp cut off each line.
func logged(t *testing.T, o Options, do func(*slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	o.Output = &out
	log, err := Open(o)
	require.NoError(t, err)
	do(log.Logger())
	require.NoError(t, log.Close(t.Context()))
	return regexp.MustCompile(`(?m)^\S+ \S+ `).ReplaceAllString(out.String(), "")
}

func TestLog_WritesOneLinePerEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		do         func(*slog.Logger)
	}{
		{"plain", "[main] INFO broker - ready port=8443\n", func(l *slog.Logger) { l.Info("ready", "port", 8443) }},
		{"component", "[main] WARN http/rest - slow took=1.5s\n", func(l *slog.Logger) {
			l.With(ComponentKey, "http/rest").Warn("slow", "took", 1500*time.Millisecond)
		}},
		{"values that are no words", `[main] ERROR broker - x a="" b="c d" e="f=\"g\"" h=true i=7` + "\n", func(l *slog.Logger) {
			l.Error("x", "a", "", "b", "c d", "e", `f="g"`, "h", true, "i", uint64(7))
		}},
		{"groups", "[main] INFO broker - x a=1 g.b=2 g.h.c=3\n", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).Info("x", slog.Group("h", "c", 3))
		}},
		{"below the level", "", func(l *slog.Logger) { l.Debug("x") }},
		{"line breaks and escapes", `[main] INFO broker - a\nb\u001b[2J who="\r\n\u202ex\xff\u0085" "k\n"=1` + "\n", func(l *slog.Logger) {
			l.Info("a\nb\x1b[2J", "who", "\r\n\u202ex\xff\u0085", "k\n", 1)
		}},
		{"other languages are left alone", "[main] INFO broker - für 東京 \ufffd\n", func(l *slog.Logger) { l.Info("für 東京 \ufffd") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, logged(t, Options{}, c.do))
		})
	}
}

// Contract section 3: the line that administrators grep in agent.log.
func TestAgentLayout_HasTheLineThatIsGrepped(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := Open(Options{Output: &out, Layout: AgentLayout})
	require.NoError(t, err)
	log.Logger().Info(`Processing broker message "{\"sessionsUpdateResponse\":{}}"`)
	require.NoError(t, log.Close(t.Context()))
	require.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{6} INFO ThreadId\(01\) dcvsessionmanageragent::agent:Processing broker message "\{\\"sessionsUpdateResponse`, out.String())
}

// stuck blocks every write until it is freed.
type stuck struct {
	entered chan struct{}
	once    sync.Once
	free    chan struct{}
	mu      sync.Mutex
	out     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// F50: a sink that hangs costs lines, never the caller's time.
func TestLog_DropsAndCountsWhenTheSinkHangs(t *testing.T) {
	t.Parallel()
	sink := &stuck{entered: make(chan struct{}), free: make(chan struct{})}
	log, err := Open(Options{Output: sink})
	require.NoError(t, err)
	log.Logger().Info("first")
	<-sink.entered // the writer is blocked from now on
	for range maxQueued + 50 {
		log.Logger().Info("more")
	}
	require.EqualValues(t, 50, log.Dropped())

	hurry, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, log.Close(hurry), context.Canceled)
	close(sink.free)
	require.NoError(t, log.Close(t.Context()))
	require.True(t, strings.Contains(sink.out.String(), " lines=50\n"), "a line says how many are missing")
	require.Equal(t, maxQueued+2, strings.Count(sink.out.String(), "\n"))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// F17: a full disk loses lines and nothing else.
func TestLog_CountsLinesThatCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	log, err := Open(Options{Output: failing{}})
	require.NoError(t, err)
	log.Logger().Info("x")
	require.NoError(t, log.Close(t.Context()))
	require.EqualValues(t, 1, log.Dropped())
	log.Logger().Info("after the end")
	require.EqualValues(t, 2, log.Dropped())
}

func TestLog_CutsLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxLineLen)
	out := logged(t, Options{}, func(l *slog.Logger) { l.With("b", long).Info(long, "a", long) })
	require.LessOrEqual(t, len(out), maxLineLen)
	require.True(t, strings.HasSuffix(out, "...(cut)\n"))
}

func TestLog_WritesAFileThatOthersCannotRead(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "logs")
	log, err := Open(Options{Directory: folder, FileName: "broker.log", Rotation: Daily, MaxSizeMB: 1, KeepFiles: 2})
	require.NoError(t, err)
	log.Logger().Info("ready")
	require.NoError(t, log.Close(t.Context()))
	data, err := os.ReadFile(filepath.Join(folder, "broker.log"))
	require.NoError(t, err)
	require.Contains(t, string(data), "INFO broker - ready\n")
	info, err := os.Stat(filepath.Join(folder, "broker.log"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007)
}

func TestLog_StartsANewFileAtItsSize(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	log, err := Open(Options{Directory: folder, FileName: "broker.log", Rotation: Hourly, MaxSizeMB: 1, KeepFiles: 2})
	require.NoError(t, err)
	for range 200 {
		log.Logger().Info(strings.Repeat("x", 10_000))
	}
	require.NoError(t, log.Close(t.Context()))
	files, err := filepath.Glob(filepath.Join(folder, "broker*.log"))
	require.NoError(t, err)
	require.Len(t, files, 2)
}

func TestOpen_SaysWhyAFolderCannotBeUsed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Options{Directory: file, FileName: "broker.log"})
	require.ErrorContains(t, err, "logging: ")
}

func TestParseLevel(t *testing.T) {
	t.Parallel()
	level, ok := ParseLevel("warning")
	require.True(t, ok)
	require.Equal(t, slog.LevelWarn, level)
	_, ok = ParseLevel("loud")
	require.False(t, ok)
}

func FuzzLayout(f *testing.F) {
	f.Add("a\nb", "k", "v\x1b")
	f.Add("\xff\u2028", "", `"\`)
	f.Fuzz(func(t *testing.T, message, key, value string) {
		r := slog.NewRecord(time.Unix(0, 0), slog.LevelInfo, message, 0)
		h := &handler{}
		component := ""
		attrs := h.append(nil, "", slog.String(key, value), &component)
		line := finish(BrokerLayout(nil, Line{Record: r, Attrs: attrs, Component: component}))
		require.LessOrEqual(t, len(line), maxLineLen)
		require.Equal(t, byte('\n'), line[len(line)-1])
		for _, c := range strings.TrimSuffix(string(line), "\n") {
			require.False(t, unicode.IsControl(c), "%q", line)
		}
		if len(line) < maxLineLen {
			require.True(t, utf8.Valid(line))
		}
	})
}
