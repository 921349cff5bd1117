package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
)

// Rotations of Options.
const (
	Hourly = "hourly"
	Daily  = "daily"
	Never  = "never"
)

// Options says what is logged where. The zero value logs from level info on to
// the standard error stream.
type Options struct {
	Level slog.Leveler // nil: slog.LevelInfo

	// Directory is the folder of the log file, made if absent (mode 0750). "" means Output.
	Directory string
	FileName  string // as in "broker.log"
	Rotation  string // Hourly, Daily or Never ("" is Never); the size counts in any case
	MaxSizeMB int    // a new file is started at this size; 0: 100
	KeepFiles int    // older files kept; 0: all

	Output io.Writer // used without a Directory; nil: os.Stderr
	Layout Layout    // nil: BrokerLayout
	JSON   bool      // lines are JSON objects instead: time, level, msg and the attributes
}

// Log is an open log. Close it to write what is buffered.
type Log struct {
	logger *slog.Logger
	queue  *queue
	close  func() error
}

// Open begins a log. The error is one of the folder: it cannot be made or written.
func Open(o Options) (*Log, error) {
	output, closeOutput, err := open(o)
	if err != nil {
		return nil, err
	}
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Layout == nil {
		o.Layout = BrokerLayout
	}
	q := newQueue(output)
	if o.JSON {
		return openJSON(o, q, closeOutput), nil
	}
	q.dropNotice = func(n int64) []byte {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped because they could not be written fast enough", 0)
		return finish(o.Layout(nil, Line{Record: r, Component: "logging", Attrs: fmt.Appendf(nil, " lines=%d", n)}))
	}
	return &Log{logger: slog.New(&handler{queue: q, level: o.Level, layout: o.Layout}), queue: q, close: closeOutput}, nil
}

// Logger returns the logger; it may be used by many goroutines. After Close its
// lines are dropped.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Dropped counts the lines that were not written since the start: the buffer was
// full, the disk was, or the log was closed.
func (l *Log) Dropped() int64 { return l.queue.dropped.Load() }

// Close writes the buffered lines and closes the file. It gives up when ctx ends.
func (l *Log) Close(ctx context.Context) error {
	if err := l.queue.stop(ctx); err != nil {
		return err
	}
	return l.close()
}

func open(o Options) (io.Writer, func() error, error) {
	if o.Directory == "" {
		if o.Output == nil {
			o.Output = os.Stderr
		}
		return o.Output, func() error { return nil }, nil
	}
	path := filepath.Join(o.Directory, o.FileName)
	if err := probe(path); err != nil {
		return nil, nil, err
	}
	file := newFile(path, func() *timberjack.Logger {
		rotated := &timberjack.Logger{
			Filename: path, MaxSize: o.MaxSizeMB, MaxBackups: o.KeepFiles,
			LocalTime: true, FileMode: 0o640, Compression: "none",
		}
		switch o.Rotation {
		case Hourly:
			rotated.RotateAtMinutes = []int{0}
		case Daily:
			rotated.RotateAt = []string{"00:00"}
		}
		return rotated
	})
	return file, file.Close, nil
}

// probe finds out now, and not at the first line, whether the file can be written.
func probe(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("logging: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("logging: %w", err)
	}
	return f.Close()
}
