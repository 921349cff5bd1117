package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever the body: no panic, no 5xx, and an answer that fits the description
// (design promise 7; F28, F29).
func fuzzBody(f *testing.F, method, path string, seeds ...string) {
	for _, seed := range append(seeds, "", "[]", "{}", "null", "[null]", `[{"X":1}]`, "\xff", `[{"SessionId":"\u0000","Owner":"-"}]`) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := newAPI(t)
		a.fleet.putServer(linuxServer("srv"))
		a.fleet.putSession(readySession("s", "barbara", "srv"))
		got := a.do(method, path, body)
		require.Less(t, got.status, http.StatusInternalServerError, "%s", got.body)
	})
}

func FuzzDescribeSessions(f *testing.F) {
	fuzzBody(f, "POST", "/describeSessions", `{"SessionIds":["s"],"Filters":[{"Key":"owner","Value":"barbara"}],"MaxResults":1,"NextToken":"AAAA"}`)
}

func FuzzDescribeServers(f *testing.F) {
	fuzzBody(f, "POST", "/describeServers", `{"ServerIds":["srv"],"MaxResults":1000,"NextToken":""}`)
}

func FuzzCreateSessions(f *testing.F) {
	fuzzBody(f, "POST", "/createSessions?explain=true", `[{"Name":"n","Owner":"CORP\\o","Type":"virtual","InitFile":"a/b","AutorunFile":"c",
		"AutorunFileArguments":["x"],"MaxConcurrentClients":1,"DcvGlEnabled":true,"PermissionsFile":"eA==","Requirements":"tag:a='b'",
		"EnqueueRequest":true,"DisableRetryOnFailure":false,"StorageRoot":"%home%"}]`)
}

func FuzzDeleteSessions(f *testing.F) {
	fuzzBody(f, "POST", "/deleteSessions", `[{"SessionId":"s","Owner":"barbara","Force":true}]`)
}

func FuzzUpdateSessionPermissions(f *testing.F) {
	fuzzBody(f, "PUT", "/sessionPermissions", `[{"SessionId":"s","Owner":"barbara","PermissionsFile":"eA=="}]`)
}

func FuzzGetSessionScreenshots(f *testing.F) {
	fuzzBody(f, "POST", "/getSessionScreenshots", `[{"SessionId":"s","MaxWidth":1,"MaxHeight":null}]`)
}

func FuzzOpenServers(f *testing.F) {
	fuzzBody(f, "POST", "/openServers", `[{"ServerId":"srv"}]`)
}

func FuzzCloseServers(f *testing.F) {
	fuzzBody(f, "POST", "/closeServers", `[{"ServerId":"srv","Force":true}]`)
}

func FuzzSessionConnectionData(f *testing.F) {
	for _, path := range []string{"s/barbara", "s/CORP%5Cx", "%2F/%00", "a//b", "%/%zz", "..%2f/.."} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsAny(path, "?#") {
			t.Skip("another path")
		}
		a := newAPI(t)
		a.fleet.putServer(linuxServer("srv"))
		a.fleet.putSession(readySession("s", "barbara", "srv"))
		got := a.do("GET", "/sessionConnectionData/"+path, "")
		require.Less(t, got.status, http.StatusInternalServerError, "%s", got.body)
	})
}

func FuzzNextToken(f *testing.F) {
	a := newAPI(f)
	sum := sumQuery(opDescribeSessions, nil, nil)
	f.Add(string(a.server.pages.append(nil, sum, []byte{2, 's'})), []byte{2, 's'})
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, token string, cursor []byte) {
		own := string(a.server.pages.append(nil, sum, cursor))
		if opened, err := a.server.pages.open(token, sum); err == nil {
			require.Equal(t, string(a.server.pages.append(nil, sum, opened)), token, "only what was sealed opens")
		}
		if len(own) <= maxPageToken {
			opened, err := a.server.pages.open(own, sum)
			require.NoError(t, err)
			require.Equal(t, string(cursor), string(opened))
		}
		// A cursor that is authentic but not well formed is refused, not trusted.
		if c, err := parseSessionCursor(cursor); err == nil {
			back, err := parseSessionCursor(sessionCursorBytes(c))
			require.NoError(t, err)
			require.Equal(t, c, back)
		}
		if c, err := parseServerCursor(cursor); err == nil {
			back, err := parseServerCursor(serverCursorBytes(c))
			require.NoError(t, err)
			require.Equal(t, c, back)
		}
	})
}
