package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLog_JSONLinesStayJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := Open(Options{JSON: true, Output: &out})
	require.NoError(t, err)
	log.Logger().Info("login", "who", "a\nb\x00", "n", 3)
	log.Logger().Info("too long", "text", strings.Repeat("x", 2*maxLineLen))
	log.Logger().Debug("below the level")
	log.Logger().Warn("end")
	require.NoError(t, log.Close(t.Context()))
	require.EqualValues(t, 1, log.Dropped())
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		object := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &object), line)
		delete(object, "time")
		lines = append(lines, object)
	}
	// The notice about the dropped line may come before or after any other.
	require.Len(t, lines, 3)
	require.Contains(t, lines, map[string]any{"level": "INFO", "msg": "login", "who": "a\nb\x00", "n": 3.0})
	require.Contains(t, lines, map[string]any{"level": "WARN", "msg": "lines were dropped because they could not be written fast enough", "lines": 1.0})
}
