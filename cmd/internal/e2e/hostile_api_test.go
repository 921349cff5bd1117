package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a client sends is refused with a status below 500 and a reason, and the broker
// is well afterwards (promise 7; F27, F28, F29, F30, F31, F33, F49).
func TestHostileClients_AreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	long(t, "it waits until slow clients are cut off")
	b := startBroker(t)
	h := b.startHost("victim", hostOptions{perUser: -1})
	b.api.awaitServer("victim", "AVAILABLE", "")
	hanging := slowHandshakes(t, b)

	hostileBodies(t, b)
	hostilePaths(t, b)
	hostileItems(t, b, h)
	hostileTokens(t, b)

	require.NoError(t, b.healthy())
	b.api.awaitState(b.api.created(virtual("alice")), "READY")
	for _, conn := range hanging { // slow ones have been cut off, or have been told
		answer, _ := io.ReadAll(conn)
		require.True(t, len(answer) == 0 || bytes.HasPrefix(answer, []byte("HTTP/1.1 4")), "%.200s", answer)
	}
	require.NoError(t, b.healthy())
	checkLog(t, b, secretsIn(t, b)...)
}

func hostileBodies(t *testing.T, b *broker) {
	deep := strings.Repeat("[", 100_000)
	many := "[" + strings.Repeat("{},", 1000) + "{}]"
	for name, body := range map[string]string{
		"nothing":          "",
		"not JSON":         "createSessions",
		"half":             `[{"Name": "a`,
		"two values":       `[] []`,
		"deep":             deep,
		"deep objects":     strings.Repeat(`{"a":`, 100_000),
		"many items":       many,
		"an object":        `{}`,
		"a number":         `1e999999`,
		"NaN":              `[{"MaxConcurrentClients": NaN}]`,
		"too big a number": `[{"MaxConcurrentClients": 1e400}]`,
		"a repeated name":  `[{"Name": "a", "Name": "b"}]`,
		"an unknown name":  `[{"\u0000\r\nName": "a"}]`,
		"invalid UTF-8":    "[{\"Name\": \"\xff\xfe\"}]",
		"half a surrogate": `[{"Name": "\ud800"}]`,
		"a wrong type":     `[{"Name": ["a"]}]`,
		"nulls":            `[null]`,
		"a bare quote":     `"`,
		"a byte":           "\x00",
		"a comment":        `[] // no`,
	} {
		for path, method := range map[string]string{"/createSessions": http.MethodPost, "/deleteSessions": http.MethodPost,
			"/sessionPermissions": http.MethodPut, "/getSessionScreenshots": http.MethodPost, "/closeServers": http.MethodPost} {
			a, err := b.api.try(method, path, body)
			require.NoError(t, err, "%s: %s", path, name)
			if name == "nulls" && a.status == http.StatusOK {
				continue // an empty item, which fails alone
			}
			require.Truef(t, a.status >= 400 && a.status < 500, "%s: %s: %d %.300s", path, name, a.status, a.body)
		}
	}
	large := `[{"Name": "` + strings.Repeat("a", 8<<20) + `"}]`
	if a, err := b.api.try(http.MethodPost, "/createSessions", large); err == nil { // or it does not even listen to the end
		require.Equal(t, http.StatusRequestEntityTooLarge, a.status)
	}
	for _, token := range []string{"x", "AAAA", strings.Repeat("A", 5000), "\x00", base64.URLEncoding.EncodeToString(make([]byte, 80))} {
		b.api.refused(http.MethodPost, "/describeSessions", object{"NextToken": token}, http.StatusBadRequest)
	}
	for _, n := range []int{0, -1, 1001} {
		b.api.refused(http.MethodPost, "/describeServers", object{"MaxResults": n}, http.StatusBadRequest)
	}
}

func hostilePaths(t *testing.T, b *broker) {
	for _, path := range []string{"/", "/createSessions/", "/createSessions/../health", "/CREATESESSIONS", "//createSessions", "/.git/config",
		"/sessionConnectionData", "/sessionConnectionData/", "/sessionConnectionData/a", "/sessionConnectionData/a/b/c",
		"/sessionConnectionData/%2e%2e%2f%2e%2e/etc", "/sessionConnectionData/%00/%0d%0aX-Evil:1", "/sessionConnectionData/%ff%fe/%ff",
		"/sessionConnectionData/a/" + strings.Repeat("u", 2000), "/sessionConnectionData/%2Froot/a%5Cb%5Cc", "/%00", "/" + strings.Repeat("a", 4000),
		"/describeSessions/%0aX", "/oauth2/token/..", "/api.yaml"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "BREW"} {
			response, body := b.raw(method, path, b.api.token, "[]")
			require.Truef(t, response.StatusCode >= 400 && response.StatusCode < 500 || strings.HasSuffix(path, "/health"),
				"%s %.100s: %d %.300s", method, path, response.StatusCode, body)
			require.Empty(t, response.Header.Get("X-Evil"))
		}
	}
}

// raw sends a request and does not hold the answer to the description: what does not
// reach the API may be answered by what is before it.
func (b *broker) raw(method, path, token, body string) (*http.Response, string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url()+path, strings.NewReader(body))
	require.NoError(b.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := b.api.http.Do(request)
	require.NoError(b.t, err, path)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response, string(text)
}

// hostileItems fail alone, here or on the host, and nothing else suffers.
func hostileItems(t *testing.T, b *broker, h *host) {
	for name, item := range map[string]object{
		"traversal":           {"InitFile": "../../../bin/sh"},
		"absolute":            {"InitFile": "/bin/sh"},
		"old name":            {"InitFilePath": "a/../../b"},
		"autorun":             {"AutorunFile": "../autorun"},
		"windows":             {"AutorunFile": `..\..\cmd.exe`},
		"control":             {"InitFile": "a\nb"},
		"NUL":                 {"AutorunFile": "a\x00b"},
		"arguments without":   {"AutorunFileArguments": list{"x"}},
		"long argument":       {"AutorunFile": "a", "AutorunFileArguments": list{strings.Repeat("x", 151)}},
		"many arguments":      {"AutorunFile": "a", "AutorunFileArguments": strings.Split(strings.Repeat("x ", 51), " ")},
		"storage":             {"StorageRoot": "/home/../etc"},
		"name":                {"Name": "a\r\nb"},
		"long name":           {"Name": strings.Repeat("é", 1000)},
		"owner as option":     {"Owner": "--help"},
		"owner as path":       {"Owner": "../root"},
		"owner with control":  {"Owner": "a\x1b[31m"},
		"type":                {"Type": "BOTH"},
		"permissions":         {"PermissionsFile": "%%%"},
		"clients":             {"MaxConcurrentClients": -1},
		"requirements":        {"Requirements": "tag:a = 'it's'"},
		"deep requirements":   {"Requirements": strings.Repeat("(", 10_000)},
		"long requirements":   {"Requirements": strings.Repeat("tag:a = 'b' or ", 5_000) + "tag:a = 'b'"},
		"bracket requirement": {"Requirements": "tag:a = '\u202e"},
	} {
		reason := b.api.refusal(virtual("alice", item))
		require.NotEmpty(t, reason, name)
		require.NotEqual(t, "No DCV server found for the given criteria", reason, "%s is refused for what it is", name)
		require.NotRegexp(t, rawControl, reason, name)
	}
	// What looks harmless to the broker is refused by the host (F30).
	require.NoError(t, os.Symlink("/bin/sh", filepath.Join(h.dir, "init", "innocent")))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "init", "not-executable"), []byte("#!/bin/sh\n"), 0o600))
	for _, file := range []string{"innocent", "not-executable", "absent"} {
		id := b.api.created(virtual("bob", object{"InitFile": file, "DisableRetryOnFailure": true}))
		require.Contains(t, b.api.awaitState(id, "DELETED").StateReason, "BAD_FILE", file)
	}
	for _, owner := range []string{`DOMAIN\user`, "o'neil; rm -rf $HOME", "用户🙂"} { // awkward, but names (F31)
		s := b.api.awaitState(b.api.created(virtual(owner)), "READY")
		require.Equal(t, owner, s.Owner)
		onHost, err := h.sessions()
		require.NoError(t, err)
		require.Equal(t, owner, onHost[s.ID].Owner)
	}
}

func hostileTokens(t *testing.T, b *broker) {
	parts := strings.Split(b.api.token, ".")
	require.Len(t, parts, 3)
	encode := base64.RawURLEncoding.EncodeToString
	header := func(text string) string { return encode([]byte(text)) }
	mac := hmac.New(sha256.New, []byte("dcvsm"))
	mac.Write([]byte(header(`{"alg":"HS256","typ":"JWT"}`) + "." + parts[1]))
	forged := map[string]string{
		"empty":       "",
		"no token":    "aaaa",
		"dots":        "..",
		"alg none":    header(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".",
		"HS256":       header(`{"alg":"HS256","typ":"JWT"}`) + "." + parts[1] + "." + encode(mac.Sum(nil)),
		"other claim": parts[0] + "." + encode([]byte(`{"sub":"admin","exp":9999999999}`)) + "." + parts[2],
		"cut":         b.api.token[:len(b.api.token)-2],
		"twice":       b.api.token + " " + b.api.token,
		"not base64":  "ä.ö.ü",
		"long":        strings.Repeat("a", 10_000),
		"longer":      strings.Repeat("a", 17_000),
	}
	for name, token := range forged {
		if response, body := b.raw(http.MethodPost, "/describeSessions", token, "{}"); response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %.200s", name, response.StatusCode, body)
		}
	}
	response, _ := b.raw(http.MethodPost, "/describeSessions", strings.Repeat("a", 21_000), "{}")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)

	wrong := *b.api
	wrong.password = "wrong"
	for _, query := range []string{"?grant_type=client_credentials", "?grant_type=password", "", "?grant_type=client_credentials&grant_type=password"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url()+"/oauth2/token"+query, nil)
		require.NoError(t, err)
		request.SetBasicAuth(wrong.id, wrong.password)
		a, err := b.api.exchange(request, "/oauth2/token")
		require.NoError(t, err)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized}, a.status)
	}
}

// slowHandshakes are clients that begin a request and never end it (F27).
func slowHandshakes(t *testing.T, b *broker) []io.Reader {
	var conns []io.Reader
	for i := range 30 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url(), "https://"), b.trust())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST /createSessions HTTP/1.1\r\nHost: a\r\nX-%d: ", i)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	return conns
}

// secretsIn are texts that no log may hold.
func secretsIn(t *testing.T, b *broker) []string {
	statement, err := os.ReadFile(b.statementFile)
	require.NoError(t, err)
	return []string{b.api.password, b.api.token, strings.TrimSpace(string(statement))}
}

var (
	rawControl = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f]|\x{202e}|\x{fffd}`)
	logLine    = regexp.MustCompile(`^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3} \[[^\]]*\] (DEBUG|INFO|WARN|ERROR) `)
)

// checkLog: each line is one of the broker's own, nothing in it can act on a terminal,
// and it gives nothing away.
func checkLog(t *testing.T, b *broker, secrets ...string) {
	t.Helper()
	text := b.log.String()
	for _, secret := range secrets {
		require.NotEmpty(t, secret)
		require.False(t, strings.Contains(text, secret), "the log holds a secret that begins %.6s", secret)
	}
	for line := range strings.Lines(text) {
		require.Regexp(t, logLine, line, "a line that is no line of the log")
		require.NotRegexp(t, rawControl, line)
	}
	require.NotContains(t, text, "panic")
	require.NotContains(t, text, "INTERNAL_ERROR")
}
