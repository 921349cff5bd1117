package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/ini.v1"
)

// fileName is the same wherever the file is looked for.
const fileName = "dcvsmcli.conf"

// maxFileSize bounds the configuration file in bytes.
const maxFileSize = 1 << 20

// known keys of each section (contract section 9).
func known() map[string][]string {
	return map[string][]string{
		"output":         {"output-format", "debug"},
		"security":       {"no-verify-ssl", "ca-bundle"},
		"authentication": {"auth-server-url", "client-id", "client-password"},
		"broker":         {"url"},
	}
}

// file is a configuration file, or none.
type file struct {
	path     string
	ini      *ini.File
	warnings []string
}

func (f *file) get(section, key string) string {
	if f.ini == nil {
		return ""
	}
	return f.ini.Section(section).Key(key).Value()
}

// readFile reads the file that was named; without a name, the first one that exists
// of the user's folder and the program's; if there is none, nothing.
func readFile(named string, env Environment) (*file, error) {
	candidates := []string{named}
	if named == "" {
		candidates = places(env)
	}
	for _, path := range candidates {
		data, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return nil, &Error{ExitConfig, "configuration file: " + err.Error()}
		}
		return parseFile(path, data)
	}
	return &file{path: "configuration file"}, nil
}

func places(env Environment) []string {
	var all []string
	add := func(base string, parts ...string) {
		if base != "" {
			all = append(all, filepath.Join(append([]string{base}, parts...)...))
		}
	}
	if env.Windows {
		add(env.Getenv("UserProfile"), fileName)
	} else {
		add(env.Getenv("XDG_CONFIG_HOME"), fileName)
		if env.Getenv("XDG_CONFIG_HOME") == "" {
			add(env.Getenv("HOME"), ".config", fileName)
		}
	}
	if env.Executable != "" {
		add(filepath.Dir(env.Executable), "conf", fileName)
	}
	return all
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileSize)
	}
	return data, err
}

// parseFile reads INI text as the vendor's program does: no inline comments, no
// continuation lines, quotes are part of a value.
func parseFile(path string, data []byte) (*file, error) {
	parsed, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment: true, IgnoreContinuation: true, PreserveSurroundedQuote: true, KeyValueDelimiters: "=:",
	}, data)
	if err != nil {
		return nil, &Error{ExitConfig, fmt.Sprintf("%s is no configuration file: write sections like [broker] and lines like url = https://HOST:PORT", path)}
	}
	f := &file{path: path, ini: parsed}
	sections := known()
	for _, section := range parsed.Sections() {
		for _, key := range section.KeyStrings() {
			if !slices.Contains(sections[section.Name()], key) {
				f.warnings = append(f.warnings, fmt.Sprintf("%s: unknown key %q in section %q, ignored", path, key, section.Name()))
			}
		}
	}
	f.warnOfReaders()
	return f, nil
}

// warnOfReaders tells who shares a machine that the password is there for all.
func (f *file) warnOfReaders() {
	info, err := os.Stat(f.path)
	if err == nil && info.Mode().Perm()&0o044 != 0 && f.get("authentication", "client-password") != "" && os.PathSeparator == '/' {
		f.warnings = append(f.warnings, f.path+" holds a password and others may read it; run: chmod 600 "+f.path)
	}
}
