package audit_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
)

// events are the lines of a trail.
func events(t *testing.T, lines *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	decoder := json.NewDecoder(lines)
	for {
		event := map[string]any{}
		err := decoder.Decode(&event)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		delete(event, "time")
		all = append(all, event)
	}
}

func TestTrail_SaysWhoDidWhatFromWhereAndHowItEnded(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	trail := audit.New(slog.New(slog.NewJSONHandler(&lines, nil)), slog.New(slog.DiscardHandler))
	var rc fasthttp.RequestCtx
	trail.Record(&rc, audit.Event{Act: "deleteSessions", Outcome: audit.Done, Client: "c-1", ClientName: "portal", Session: "s-1", Owner: "alice"})
	trail.Record(&rc, audit.Event{Act: "deleteSessions", Outcome: audit.Refused, Code: "SESSION_NOT_FOUND", Reason: "no", Session: "s\n2"})
	id := string(rc.Response.Header.Peek("X-Request-Id"))
	require.NotEmpty(t, id)
	require.Equal(t, []map[string]any{
		{"level": "INFO", "msg": "deleteSessions", "outcome": "done", "client": "c-1", "client_name": "portal",
			"remote": "0.0.0.0", "request_id": id, "session": "s-1", "owner": "alice"},
		{"level": "WARN", "msg": "deleteSessions", "outcome": "refused", "code": "SESSION_NOT_FOUND", "reason": "no",
			"remote": "0.0.0.0", "request_id": id, "session": "s\n2"},
	}, events(t, &lines))
}

// A stranger cannot fill the disk with refusals; what is left out is counted.
func TestTrail_RefusalsAreBoundedInNumberAndLength(t *testing.T) {
	t.Parallel()
	var kept, told bytes.Buffer
	trail := audit.New(slog.New(slog.NewJSONHandler(&kept, nil)), slog.New(slog.NewTextHandler(&told, nil)))
	var rc fasthttp.RequestCtx
	rc.Request.SetRequestURI("/" + strings.Repeat("x", 10_000) + "?secret=1")
	for range 1000 {
		trail.Refuse(&rc, "API request not authorized", audit.Event{Act: "authorize", Code: "NO"})
	}
	few := strings.Count(told.String(), "\n")
	require.Positive(t, few)
	require.Less(t, few, 200)
	require.Contains(t, told.String(), `level=WARN msg="API request not authorized" path=/xxx`)
	require.Contains(t, told.String(), "code=NO")
	require.NotContains(t, told.String()+kept.String(), "secret")
	require.Less(t, told.Len(), few*800)
	all := events(t, &kept)
	require.Less(t, len(all), 900)
	require.Equal(t, "authorize", all[0]["msg"])
	require.Equal(t, "refused", all[0]["outcome"])
	require.Eventually(t, func() bool {
		trail.Refuse(&rc, "again", audit.Event{Act: "authorize"})
		return strings.Contains(kept.String(), `"suppressed":`)
	}, 30*time.Second, 5*time.Millisecond)
}

// Without a trail refusals are still in the log.
func TestTrail_IsOptional(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	trail := audit.New(nil, slog.New(slog.NewTextHandler(&told, nil)))
	var rc fasthttp.RequestCtx
	trail.Record(&rc, audit.Event{Act: "createSessions"})
	require.Empty(t, told.String())
	trail.Refuse(&rc, "refused", audit.Event{})
	require.Contains(t, told.String(), "refused")
}

func TestClip_CutsNoCharacter(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", audit.Clip("short"))
	long := audit.Clip(strings.Repeat("x", 255) + "\U0001F600 and more")
	require.True(t, utf8.ValidString(long))
	require.Equal(t, strings.Repeat("x", 255), long)
	require.LessOrEqual(t, len(audit.Clip(strings.Repeat("\x80", 1000))), 256)
}
