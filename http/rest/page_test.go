package rest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/messages"
)

// F49: while sessions come and go, a session that stays is listed exactly once.
func TestPages_StableSessionsAreNeitherSkippedNorRepeated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a := newAPI(t)
		var stable, passing []string
		put := func(id string) {
			v := readySession(id, "barbara", "")
			v.CreationUnixMs = rapid.Int64Range(1, 5).Draw(rt, "created") // many ties
			a.fleet.putSession(v)
		}
		for i := range rapid.IntRange(0, 12).Draw(rt, "stable") {
			stable = append(stable, fmt.Sprintf("stable-%d", i))
			put(stable[i])
		}
		var seen []string
		token := ""
		for page := 0; page == 0 || token != ""; page++ {
			body := fmt.Sprintf(`{"MaxResults":%d,"NextToken":%q}`, rapid.IntRange(1, 4).Draw(rt, "size"), token)
			got := into[describedSessions](t, a.post("/describeSessions", body))
			for _, s := range got.Sessions {
				seen = append(seen, s.ID)
			}
			token = got.NextToken
			for _, id := range passing {
				a.fleet.removeSession(id)
			}
			passing = passing[:0]
			for i := range rapid.IntRange(0, 3).Draw(rt, "more") {
				if page < 30 {
					passing = append(passing, fmt.Sprintf("passing-%d-%d", page, i))
					put(passing[i])
				}
			}
		}
		for _, id := range stable {
			require.Equal(rt, 1, count(seen, id), "%s in %v", id, seen)
		}
	})
}

func count(list []string, item string) (n int) {
	for _, s := range list {
		if s == item {
			n++
		}
	}
	return n
}

func TestPages_OfServersAndOfIDs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var ids []string
	for i := range 7 {
		ids = append(ids, fmt.Sprintf("v%d", i))
		a.fleet.putServer(linuxServer(ids[i]))
		a.fleet.putSession(readySession(ids[i], "barbara", ids[i]))
	}
	list, err := json.Marshal(append([]string{"absent"}, ids...))
	require.NoError(t, err)
	walk := func(path, query string) (seen []string) {
		token := ""
		for page := 0; page == 0 || token != ""; page++ {
			body := fmt.Sprintf(`{%s"MaxResults":3,"NextToken":%q}`, query, token)
			got := a.post(path, body)
			sessions, servers := into[describedSessions](t, got), into[describedServers](t, got)
			for _, s := range sessions.Sessions {
				seen = append(seen, s.ID)
			}
			for _, s := range servers.Servers {
				seen = append(seen, s.ID)
			}
			token = sessions.NextToken
		}
		return seen
	}
	require.Equal(t, ids, walk("/describeServers", ""))
	require.Equal(t, ids, walk("/describeServers", `"ServerIds":`+string(list)+","))
	require.Equal(t, ids, walk("/describeSessions", `"SessionIds":`+string(list)+","))
	require.Equal(t, ids, walk("/describeSessions", `"Filters":[{"Key":"owner","Value":"barbara"}],`))
}

// F49: a token counts for its own query only, and cannot be made up.
func TestPages_ForeignAndForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for i := range 3 {
		a.fleet.putServer(linuxServer(fmt.Sprint(i)))
		a.fleet.putSession(readySession(fmt.Sprint(i), "barbara", "0"))
	}
	tokenOf := func(a *api, path, query string) string {
		return into[describedSessions](t, a.post(path, "{"+query+`"MaxResults":1}`)).NextToken
	}
	queries := []struct{ path, query string }{
		{"/describeSessions", ""},
		{"/describeSessions", `"Filters":[{"Key":"owner","Value":"barbara"}],`},
		{"/describeSessions", `"Filters":[{"Key":"tag:color","Value":"pink"}],`},
		{"/describeSessions", `"SessionIds":["0","1"],`},
		{"/describeSessions", `"SessionIds":["1","0"],`},
		{"/describeServers", ""},
		{"/describeServers", `"ServerIds":["0","1"],`},
	}
	for i, from := range queries {
		token := tokenOf(a, from.path, from.query)
		require.NotEmpty(t, token)
		for j, to := range queries {
			got := a.post(to.path, "{"+to.query+`"NextToken":"`+token+`"}`)
			require.Equal(t, i == j, got.status == 200, "%v %v", from, to)
		}
	}
	good := tokenOf(a, "/describeSessions", "")
	elsewhere := newAPI(t, func(c *Config) { c.Secret = []byte("another fleet's") })
	for i := range 3 {
		elsewhere.fleet.putSession(readySession(fmt.Sprint(i), "barbara", "0"))
	}
	raw, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	for i := range raw {
		flipped := slices.Clone(raw)
		flipped[i] ^= 1
		refused(t, a.post("/describeSessions", `{"NextToken":"`+base64.RawURLEncoding.EncodeToString(flipped)+`"}`), 400, messages.CodeInvalid)
	}
	for _, bad := range []string{"x", "=", good + "A", good[:len(good)-1], strings.Repeat("A", 5000), tokenOf(elsewhere, "/describeSessions", "")} {
		refused(t, a.post("/describeSessions", `{"NextToken":"`+bad+`"}`), 400, messages.CodeInvalid)
		refused(t, a.post("/describeServers", `{"NextToken":"`+bad+`"}`), 400, messages.CodeInvalid)
	}
}

func TestPages_TheOrderOfFiltersDoesNotMatter(t *testing.T) {
	t.Parallel()
	require.Equal(t,
		filterList([]keyValuePair{{"owner", "a"}, {"tag:x", "y"}}),
		filterList([]keyValuePair{{"tag:x", "y"}, {"owner", "a"}}))
	require.NotEqual(t, filterList([]keyValuePair{{"a", "bc"}}), filterList([]keyValuePair{{"ab", "c"}}))
}
