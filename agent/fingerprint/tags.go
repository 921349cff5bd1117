package fingerprint

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// Bounds of the tags folder.
const (
	mostTagFiles    = 64
	mostTags        = 256
	mostTagFile     = 64 << 10
	longestTagKey   = 128
	longestTagValue = 1024
)

// ReadTags reads the *.toml files of a folder in alphabetical order; of a repeated
// key the later value wins (contract section 7). What cannot be used is skipped
// with a log line: an image with a broken tag file still makes a working host.
func ReadTags(folder string, log *slog.Logger) map[string]string {
	paths, _ := filepath.Glob(filepath.Join(folder, "*.toml")) // sorted; errs on a bad pattern only
	if len(paths) > mostTagFiles {
		log.Error("Too many tag files, the rest is ignored", "folder", folder, "read", mostTagFiles, "found", len(paths))
		paths = paths[:mostTagFiles]
	}
	tags := map[string]string{}
	for _, path := range paths {
		fresh, err := readTagFile(path, log)
		if err != nil {
			log.Error("Ignored a broken tag file", "file", path, "error", err)
			continue
		}
		for _, key := range sortedKeys(fresh) {
			merge(tags, key, fresh[key], path, log)
		}
	}
	return tags
}

// merge adds a tag; a stale file baked into an image shows in the log (C24).
func merge(tags map[string]string, key, value, path string, log *slog.Logger) {
	old, twice := tags[key]
	switch {
	case twice && old != value:
		log.Warn("A tag is set by several files, the last one wins", "tag", key, "file", path, "value", value, "former_value", old)
	case !twice && len(tags) == mostTags:
		log.Error("Too many tags, one is ignored", "tag", key, "file", path, "most", mostTags)
		return
	}
	tags[key] = value
}

func readTagFile(path string, log *slog.Logger) (map[string]string, error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, mostTagFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > mostTagFile {
		return nil, fmt.Errorf("larger than %d bytes", mostTagFile)
	}
	return parseTags(content, func(key, why string) {
		log.Error("Ignored a tag", "file", path, "tag", key, "error", why)
	})
}

// parseTags reads lines of key = "value". Whole numbers, booleans and the like
// become text; skipped is told what is left out.
func parseTags(content []byte, skipped func(key, why string)) (map[string]string, error) {
	var raw map[string]any
	if err := toml.Unmarshal([]byte(strings.TrimPrefix(string(content), "\ufeff")), &raw); err != nil {
		return nil, err
	}
	tags := make(map[string]string, len(raw))
	for _, key := range sortedKeys(raw) {
		value, ok := tagText(raw[key])
		switch {
		case strings.HasPrefix(key, "dcv:"):
			skipped(key, "keys that start with dcv: belong to the broker")
		case !ok:
			skipped(key, "only text, numbers and booleans can be tags")
		case key == "" || len(key) > longestTagKey || len(value) > longestTagValue:
			skipped(key[:min(len(key), longestTagKey)], fmt.Sprintf("a key has 1 to %d bytes, a value at most %d", longestTagKey, longestTagValue))
		case !utf8.ValidString(key) || !utf8.ValidString(value):
			skipped(strconv.Quote(key), "not UTF-8")
		default:
			tags[key] = value
		}
	}
	return tags, nil
}

func tagText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case fmt.Stringer: // local dates and times
		return v.String(), true
	}
	return "", false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
