package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"opensessionmanager/internal/config"
)

// maxFileSize bounds the file in bytes.
const maxFileSize = 1 << 20

// Load reads and checks the file. The error is config.Problems if an edit of the
// file cures it, and names every problem that could be found. Changes are what the command
// line says instead of the file; they are checked as if they stood there.
func Load(path string, changes ...func(*Settings)) (Settings, []config.Warning, error) {
	content, err := read(path)
	if err != nil {
		return Settings{}, nil, config.Problems{{File: path, Text: err.Error(), Fix: "name another file with --config"}}
	}
	return parse(path, content, changes...)
}

// Without returns the settings of a host that has no file yet.
func Without(changes ...func(*Settings)) (Settings, []config.Warning, error) {
	return parse("", []byte("version = '"+formatVersion+"'"), changes...)
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("larger than %d bytes", maxFileSize)
	}
	return content, nil
}

func parse(path string, content []byte, changes ...func(*Settings)) (Settings, []config.Warning, error) {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	s := Default(runtime.GOOS)
	s.File = path
	d := document{path: path, lines: strings.Split(string(content), "\n")}
	decoder := toml.NewDecoder(bytes.NewReader(content)).DisallowUnknownFields()
	err := decoder.Decode(&s)
	var unknown *toml.StrictMissingError
	var warnings []config.Warning
	switch {
	case errors.As(err, &unknown):
		warnings = d.unknown(unknown)
	case err != nil:
		return Settings{}, nil, config.Problems{d.syntax(err)}
	}
	for _, change := range changes {
		change(&s)
	}
	problems, more := d.check(&s)
	if len(problems) > 0 {
		return Settings{}, nil, problems
	}
	return s, append(warnings, more...), nil
}

// document finds the line of a key, for values that are wrong though well-formed.
type document struct {
	path  string
	lines []string
}

// problem places a complaint at a key like "agent.broker_port".
func (d document) problem(key, text, fix string) config.Problem {
	return config.Problem{File: d.path, Line: d.line(key), Key: key, Text: text, Fix: fix}
}

// line returns where the file sets the key, 0 if it does not. It reads lines, not
// TOML: a key it misses costs the line number only.
func (d document) line(key string) int {
	table, name, nested := strings.Cut(key, ".")
	if !nested {
		table, name = "", key
	}
	current := ""
	for i, line := range d.lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			current = strings.Trim(strings.SplitN(line, "]", 2)[0], "[ \t")
			continue
		}
		if k, _, found := strings.Cut(line, "="); found && current == table && strings.Trim(strings.TrimSpace(k), `"'`) == name {
			return i + 1
		}
	}
	return 0
}

// syntax explains what the TOML reader stopped at.
func (d document) syntax(err error) config.Problem {
	p := config.Problem{File: d.path, Text: strings.TrimPrefix(err.Error(), "toml: "), Fix: `write text in quotes, numbers and true or false without`}
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return p
	}
	p.Line, _ = at.Position()
	if p.Line < 1 || p.Line > len(d.lines) {
		return p
	}
	key, _, found := strings.Cut(d.lines[p.Line-1], "=")
	if key = strings.TrimSpace(key); !found || !plainKey.MatchString(key) {
		return p
	}
	p.Key = key
	for _, o := range known() {
		if o.name() == key {
			p.Text, p.Fix = "this value cannot be read", "write "+o.form()
		}
	}
	return p
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// unknown warns of keys that have no meaning. version below a table is left to check.
func (d document) unknown(missing *toml.StrictMissingError) []config.Warning {
	var warnings []config.Warning
	for i := range missing.Errors {
		e := &missing.Errors[i]
		key := strings.Join(e.Key(), ".")
		row, _ := e.Position()
		warnings = append(warnings, config.Warning{Level: slog.LevelWarn, Problem: config.Problem{
			File: d.path, Line: row, Key: printable(key), Text: "this key is not known and has no effect", Fix: nearest(key)}})
	}
	return warnings
}

func printable(key string) string {
	if len(key) <= 100 && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return key
	}
	return fmt.Sprintf("%.100q", key)
}

// option is one known key.
type option struct {
	table string
	field reflect.StructField
}

func (o option) name() string { return o.field.Tag.Get("toml") }

func (o option) key() string { return o.table + "." + o.name() }

// form says how values of the option are written.
func (o option) form() string {
	switch o.field.Type.Kind() {
	case reflect.Int:
		return "a whole number without quotes, as in " + o.name() + " = 30"
	case reflect.Bool:
		return "true or false without quotes"
	case reflect.Slice:
		return "a list of quoted texts, as in " + o.name() + ` = ["one", "two"]`
	}
	return "text in quotes, as in " + o.name() + ` = "text"`
}

func known() []option {
	var all []option
	for _, table := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		if table.Type.Kind() != reflect.Struct {
			continue
		}
		for _, field := range reflect.VisibleFields(table.Type) {
			all = append(all, option{table: table.Tag.Get("toml"), field: field})
		}
	}
	return all
}

// Reference writes the known keys, their defaults and meaning as a Markdown table.
func Reference(w io.Writer) error {
	defaults := reflect.ValueOf(Default("linux"))
	var b strings.Builder
	b.WriteString("| Key | Default | Meaning |\n|---|---|---|\n")
	for _, o := range known() {
		table := defaults.FieldByName(strings.ToUpper(o.table[:1]) + o.table[1:])
		meaning := o.field.Tag.Get("doc")
		if o.field.Tag.Get("own") != "" {
			meaning += " Not a key of the vendor's."
		}
		fmt.Fprintf(&b, "| `%s` | `%v` | %s |\n", o.key(), table.FieldByIndex(o.field.Index), meaning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nearest suggests the known key that is most like a misspelt one.
func nearest(key string) string {
	const longest = 100
	if len(key) > longest {
		return ""
	}
	best, distance := "", len(key)/3+1
	for _, o := range known() {
		for _, candidate := range []string{o.key(), o.name()} {
			if n := edits(key, candidate); n < distance {
				best, distance = o.key(), n
			}
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// edits counts insertions, deletions and replacements between a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
