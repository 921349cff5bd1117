package messages

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// files are all the .proto files of this package.
func files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{File_agent_proto, File_fleet_proto, File_queue_proto, File_server_proto, File_session_proto}
}

// rows are the first columns of the table in doc.go.
func rows(t *testing.T) (table map[string]bool, doc string) {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	doc, _, ok := strings.Cut(string(source), "\npackage messages")
	require.True(t, ok)
	table = map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^//\t([A-Z]\w+) +\S`).FindAllStringSubmatch(doc, -1) {
		require.False(t, table[row[1]], "%s stands in the table twice", row[1])
		table[row[1]] = true
	}
	return table, doc
}

// The table is complete: every message is in it or said to be something else.
func TestDoc_NamesEveryMessage(t *testing.T) {
	t.Parallel()
	table, doc := rows(t)
	known := map[string]bool{}
	for _, file := range files() {
		for i := range file.Messages().Len() {
			name := string(file.Messages().Get(i).Name())
			known[name] = true
			require.Regexp(t, `\b`+name+`\b`, doc, "%s of %s is not in doc.go", name, file.Path())
		}
	}
	for name := range table {
		require.True(t, known[name], "doc.go tells of %s, which does not exist", name)
	}
}

// What the actors handle crosses a mailbox, so it stands in the table itself.
func TestDoc_HasWhatTheActorsHandle(t *testing.T) {
	t.Parallel()
	table, _ := rows(t)
	sources, err := os.ReadDir("../actors")
	require.NoError(t, err)
	handled := regexp.MustCompile(`case \*messages\.(\w+):`)
	for _, entry := range sources {
		if entry.IsDir() || strings.HasSuffix(entry.Name(), "_test.go") || !strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		source, err := os.ReadFile("../actors/" + entry.Name())
		require.NoError(t, err)
		for _, found := range handled.FindAllStringSubmatch(string(source), -1) {
			if name := found[1]; !strings.Contains(name, "_") { // not a member of a oneof
				require.True(t, table[name], "%s handles %s", entry.Name(), name)
			}
		}
	}
}
