package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads the file at path; "" means DefaultPath if that exists, else the
// defaults alone. The error is Problems if the file's content or permissions are
// to blame, and names everything that is wrong, not just the first thing.
func Load(path string) (*Config, []Warning, error) {
	if path == "" {
		if _, err := os.Stat(DefaultPath); errors.Is(err, fs.ErrNotExist) {
			note := Problem{Text: "no configuration file; every key has its default", Fix: "create " + DefaultPath + " or use --config"}
			return Default(), []Warning{{note, slog.LevelInfo}}, nil
		}
		path = DefaultPath
	}
	data, info, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	l := newLoader(path)
	l.take(data)
	l.checkPermissions(info)
	l.check()
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return a.Line - b.Line })
	slices.SortStableFunc(l.warnings, func(a, b Warning) int { return a.Line - b.Line })
	if len(l.problems) > 0 {
		return nil, l.warnings, l.problems
	}
	l.settle()
	return l.cfg, l.warnings, nil
}

// Default is what a broker without a configuration file uses.
func Default() *Config {
	l := newLoader("")
	l.settle()
	return l.cfg
}

func read(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("config: %s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFileSize {
		return nil, nil, fmt.Errorf("config: %s is larger than %d bytes", path, maxFileSize)
	}
	return data, info, nil
}

// loader is the state of reading one file.
type loader struct {
	file     string
	cfg      *Config
	options  []*option
	problems Problems
	warnings []Warning
}

// newLoader begins with every key at its default.
func newLoader(file string) *loader {
	l := &loader{file: file, cfg: &Config{File: file}}
	l.options = options(l.cfg)
	for _, o := range l.options {
		if fix, err := o.set(o.def); err != nil {
			panic("config: default of " + o.key + ": " + err.Error() + "; " + fix) // only a wrong tag; a test reads them all
		}
	}
	return l
}

// take applies the entries of the file. Of a key that is given twice the last one counts.
func (l *loader) take(data []byte) {
	entries, problems := parse(l.file, data)
	l.problems = append(l.problems, problems...)
	for _, e := range entries {
		o := l.option(e.key)
		if o == nil {
			l.warn(slog.LevelWarn, Problem{Line: e.line, Key: shorten(e.key), Text: "unknown key, ignored", Fix: didYouMean(e.key, l.options)})
			continue
		}
		if o.line != 0 {
			l.warn(slog.LevelWarn, Problem{Line: e.line, Key: o.key, Text: fmt.Sprintf("given before in line %d; this line counts", o.line), Fix: "remove one of them"})
		}
		o.line = e.line
		l.assign(o, e)
	}
}

func (l *loader) assign(o *option, e entry) {
	value := strings.TrimSpace(e.value)
	if o.field.Type() == secretType {
		if value != e.value {
			l.warn(slog.LevelWarn, Problem{Line: e.line, Key: o.key, Text: "the password begins or ends with a blank, which is taken as part of it", Fix: "remove the blank unless it belongs there"})
		}
		value = e.value
	}
	if fix, err := o.set(value); err != nil {
		l.refuse(o, err.Error(), fix)
		return
	}
	if o.field.Type() == pathType && value != "" {
		o.field.SetString(l.absolute(value))
	}
	if o.status == statusIgnored {
		l.warn(slog.LevelInfo, Problem{Line: e.line, Key: o.key, Text: "has no effect: " + o.doc})
	}
}

// absolute resolves a path against the folder of the properties file.
func (l *loader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	folder, err := filepath.Abs(filepath.Dir(l.file))
	if err != nil {
		return path // the current folder is gone; the path stays what the operator wrote
	}
	return filepath.Join(folder, path)
}

func (l *loader) option(key string) *option {
	for _, o := range l.options {
		if o.key == key {
			return o
		}
	}
	return nil
}

// of finds the option of a field of l.cfg, so that rules name fields, never keys.
func (l *loader) of(field any) *option {
	for _, o := range l.options {
		if o.field.Addr().Interface() == field {
			return o
		}
	}
	panic("config: not a field with a key") // only a wrong rule; every rule is tested
}

func (l *loader) refuse(o *option, text, fix string) {
	l.problems = append(l.problems, Problem{File: l.file, Line: o.line, Key: o.key, Text: text, Fix: fix})
}

func (l *loader) warn(level slog.Level, p Problem) {
	p.File = l.file
	l.warnings = append(l.warnings, Warning{p, level})
}

func (l *loader) warnOf(field any, text, fix string) {
	o := l.of(field)
	l.warn(slog.LevelWarn, Problem{Line: o.line, Key: o.key, Text: text, Fix: fix})
}
