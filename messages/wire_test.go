package messages

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// update adds what is new to the listing: go test ./messages -run TestWire -update.
var update = flag.Bool("update", false, "add new fields and messages to the listing of the wire format")

const listing = "testdata/wire.txt"

// rule is why a change of the listing is refused.
const rule = `brokers and agents of two versions work together during an upgrade, and records outlive a version.
So a field keeps its number, name and type for ever, also one that nobody uses any more, and a message its name.
Add a field with a new number instead, and have the old one read as long as the version before may write it.`

// F47: what versions say to each other, and what they store, only grows.
func TestWire_OnlyGrows(t *testing.T) {
	t.Parallel()
	stored, err := os.ReadFile(listing)
	require.NoError(t, err)
	before, now := facts(string(stored)), facts(wire())
	for key, meaning := range before {
		require.Contains(t, now, key, "%s is gone or has another number: %s", key, rule)
		require.Equal(t, meaning, now[key], "%s was changed: %s", key, rule)
	}
	if *update {
		require.NoError(t, os.WriteFile(listing, []byte(wire()), 0o644))
		return
	}
	require.Equal(t, string(stored), wire(), "something was added; if its number is final: go test ./messages -run TestWire -update")
}

// facts are the lines of a listing: what a message and a number stand for.
func facts(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if words := strings.SplitN(strings.TrimSpace(line), " ", 3); len(words) == 3 && words[0] != "#" {
			all[words[0]+" "+words[1]] = words[2]
		}
	}
	return all
}

// wire lists every message and enum of this package: name, number, meaning.
func wire() string {
	lines := []string{"# What is said between versions; see wire_test.go. Written by go generate, never by hand.\n"}
	for _, file := range files() {
		lines = append(lines, "\n# "+file.Path()+"\n")
		for i := range file.Enums().Len() {
			lines = append(lines, enum(file.Enums().Get(i))...)
		}
		for i := range file.Messages().Len() {
			lines = append(lines, message(file.Messages().Get(i))...)
		}
	}
	return strings.Join(lines, "")
}

func message(m protoreflect.MessageDescriptor) []string {
	lines := []string{fmt.Sprintf("%s message -\n", m.Name())}
	fields := make([]protoreflect.FieldDescriptor, m.Fields().Len())
	for i := range fields {
		fields[i] = m.Fields().Get(i)
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, f := range fields {
		lines = append(lines, fmt.Sprintf("%s %d %s %s\n", m.Name(), f.Number(), f.Name(), meaning(f)))
	}
	return lines
}

func enum(e protoreflect.EnumDescriptor) []string {
	lines := []string{fmt.Sprintf("%s enum -\n", e.Name())}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		lines = append(lines, fmt.Sprintf("%s %d %s\n", e.Name(), v.Number(), v.Name()))
	}
	return lines
}

// meaning is all that decides how a field is read, in protobuf and in JSON.
func meaning(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch {
	case f.IsMap():
		kind = "map of " + f.MapKey().Kind().String() + " to " + f.MapValue().Kind().String()
	case f.Kind() == protoreflect.MessageKind:
		kind = string(f.Message().Name())
	case f.Kind() == protoreflect.EnumKind:
		kind = string(f.Enum().Name())
	}
	if f.IsList() {
		kind = "repeated " + kind
	}
	if f.HasOptionalKeyword() {
		kind = "optional " + kind
	}
	if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
		kind += ", one of " + string(one.Name())
	}
	return kind + ", in JSON " + f.JSONName()
}

// The guard itself: taking away, renumbering and retyping are seen, adding is not taken
// for one of them.
func TestWire_GuardSeesWhatBreaks(t *testing.T) {
	t.Parallel()
	before := facts("A message -\nA 1 id string, in JSON id\nA 2 n int32, in JSON n\n")
	broken := func(now string) (keys []string) {
		for key, meaning := range before {
			if facts(now)[key] != meaning {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		return keys
	}
	require.Equal(t, []string{"A 2"}, broken("A message -\nA 1 id string, in JSON id\n"))
	require.Equal(t, []string{"A 2"}, broken("A message -\nA 1 id string, in JSON id\nA 3 n int32, in JSON n\n"))
	require.Equal(t, []string{"A 2"}, broken("A message -\nA 1 id string, in JSON id\nA 2 n int64, in JSON n\n"))
	require.Equal(t, []string{"A 1", "A 2", "A message"}, broken("B message -\n"))
	require.Empty(t, broken("A message -\nA 1 id string, in JSON id\nA 2 n int32, in JSON n\nA 3 new bool, in JSON new\n"))
}
