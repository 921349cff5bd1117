package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/magiconair/properties"
)

// maxFileSize bounds the file in bytes; the longest real ones have 10 KiB.
const maxFileSize = 1 << 20

// entry is one "key = value" of the file. line is the first of its lines.
type entry struct {
	key, value string
	line       int
}

// parse splits the text into entries. A line that cannot be read is a problem;
// the others are still returned.
//
// The library knows the escapes of the format but not the line numbers, so the
// file is cut into logical lines here and each is handed over by itself.
func parse(file string, data []byte) ([]entry, Problems) {
	var (
		entries  []entry
		problems Problems
	)
	for _, l := range logicalLines(data) {
		key, value, err := parseLine(l.text)
		if err != nil {
			problems = append(problems, Problem{File: file, Line: l.number, Text: err.Error(), Fix: l.fix(err)})
			continue
		}
		entries = append(entries, entry{key, value, l.number})
	}
	return entries, problems
}

var (
	errNotUTF8 = errors.New("this line is not UTF-8 text")
	errNoKey   = errors.New("this line has no key")
	errEscape  = errors.New("this line has a broken \\ escape")
)

func parseLine(text string) (key, value string, err error) {
	if !utf8.ValidString(text) {
		return "", "", errNotUTF8
	}
	if text[0] == '=' || text[0] == ':' {
		return "", "", errNoKey
	}
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := loader.LoadBytes([]byte(text))
	if err != nil {
		return "", "", errEscape // the library's text could repeat a password
	}
	if keys := p.Keys(); len(keys) == 1 && keys[0] != "" {
		return keys[0], p.GetString(keys[0], ""), nil
	}
	return "", "", errNoKey
}

type logicalLine struct {
	text   string
	number int
}

func (l logicalLine) fix(err error) string {
	switch {
	case errors.Is(err, errNotUTF8):
		return "save the file as UTF-8"
	case errors.Is(err, errEscape):
		return "write \\\\ for a backslash, \\uXXXX with four hex digits for a character"
	default:
		return "write key = value"
	}
}

// logicalLines joins lines that end in an odd number of backslashes with the
// next one and leaves out blank lines and comments, as java.util.Properties does.
func logicalLines(data []byte) []logicalLine {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	natural := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
	var lines []logicalLine
	for i := 0; i < len(natural); i++ {
		number := i + 1
		text := strings.TrimLeft(natural[i], " \t\f")
		if text == "" || text[0] == '#' || text[0] == '!' {
			continue
		}
		var joined strings.Builder
		for continues(text) && i+1 < len(natural) {
			joined.WriteString(text[:len(text)-1])
			i++
			text = strings.TrimLeft(natural[i], " \t\f")
		}
		if continues(text) { // the file ends here: the backslash joins nothing
			text = text[:len(text)-1]
		}
		joined.WriteString(text)
		if joined.Len() > 0 {
			lines = append(lines, logicalLine{joined.String(), number})
		}
	}
	return lines
}

func continues(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}
