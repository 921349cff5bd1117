package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

func TestDescribeSessions_ByIDWithServer(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	a.fleet.putSession(readySession("s-1", "barbara", "srv"))
	a.fleet.putSession(readySession("s-2", "carl", "srv"))

	got := a.post("/describeSessions", `{"SessionIds":["s-2","absent","s-1","s-2"]}`)
	sessions := into[describedSessions](t, got)
	require.Len(t, sessions.Sessions, 2, "unknown ids are absent, repeated ones are given once")
	require.Equal(t, "s-2", sessions.Sessions[0].ID)
	require.Equal(t, "READY", sessions.Sessions[0].State)
	require.Equal(t, "2020-10-06T10:15:31.633Z", sessions.Sessions[0].CreationTime)
	require.Equal(t, "8443", sessions.Sessions[0].Server.Port)
	require.Equal(t, sessions.RequestID, got.header.Get("X-Request-Id"))
	require.NotContains(t, got.body, "null")
	require.NotContains(t, got.body, "Host\"", "a nested server has its stable members only")
	require.NotContains(t, got.body, "NextToken")
}

func TestDescribe_EmptyBodyAndNullsMeanEverything(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	a.fleet.putSession(readySession("s-1", "barbara", "srv"))
	for _, body := range []string{"", "{}", `{"SessionIds":null,"Filters":null,"MaxResults":null,"NextToken":null}`, "null"} {
		require.Len(t, into[describedSessions](t, a.post("/describeSessions", body)).Sessions, 1, body)
	}
	for _, body := range []string{"", "{}", `{"ServerIds":null,"MaxResults":null,"NextToken":null}`} {
		require.Len(t, into[describedServers](t, a.post("/describeServers", body)).Servers, 1, body)
	}
}

func TestDescribeSessions_AnsweredAgainAfterAChange(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	a.fleet.putSession(readySession("s-1", "barbara", "srv"))
	ask := func() wireSession {
		return into[describedSessions](t, a.post("/describeSessions", `{"SessionIds":["s-1"]}`)).Sessions[0]
	}
	require.Equal(t, "READY", ask().State)
	require.Equal(t, ask(), ask(), "from kept bytes the second time")

	gone := readySession("s-1", "barbara", "srv")
	gone.State, gone.ReasonCode = messages.SessionState_SESSION_STATE_DELETED, "SESSION_VANISHED"
	a.fleet.putSession(gone)
	require.Equal(t, "DELETED", ask().State)
	require.Equal(t, "SESSION_VANISHED", ask().StateReason)

	moved := linuxServer("srv")
	moved.Facts.Ip = "10.9.9.9"
	a.fleet.putServer(moved)
	require.Equal(t, "10.9.9.9", ask().Server.IP, "the session is unchanged, its server is not")
}

func TestDescribeSessions_Filters(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	blue := linuxServer("blue")
	blue.Facts.Tags = map[string]string{"color": "blue"}
	a.fleet.putServer(linuxServer("pink"))
	a.fleet.putServer(blue)
	a.fleet.putSession(readySession("1", "barbara", "pink"))
	a.fleet.putSession(readySession("2", "barbara", "blue"))
	a.fleet.putSession(readySession("3", `CORP\carl`, "blue"))
	a.fleet.putSession(readySession("4", "dora", ""))

	for _, c := range []struct{ filters, want string }{
		{`[{"Key":"owner","Value":"barbara"}]`, "1 2"},
		{`[{"Key":"owner","Value":"CORP\\carl"}]`, "3"},
		{`[{"Key":"owner","Value":"barbara"},{"Key":"owner","Value":"dora"}]`, "1 2 4"},
		{`[{"Key":"tag:color","Value":"blue"}]`, "2 3"},
		{`[{"Key":"tag:color","Value":"blue"},{"Key":"tag:color","Value":"pink"}]`, "1 2 3"},
		{`[{"Key":"tag:color","Value":"blue"},{"Key":"owner","Value":"barbara"}]`, "2"},
		{`[{"Key":"tag:dcv:os-family","Value":"linux"}]`, "1 2 3"},
		{`[{"Key":"tag:none","Value":""}]`, ""},
	} {
		for _, ids := range []string{"", `"SessionIds":["1","2","3","4"],`} {
			got := into[describedSessions](t, a.post("/describeSessions", `{`+ids+`"Filters":`+c.filters+`}`))
			require.Equal(t, c.want, idsOf(got.Sessions), "%s %s", ids, c.filters)
		}
	}
}

func idsOf(sessions []wireSession) string {
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return strings.Join(ids, " ")
}

func TestDescribe_BadQueriesAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for body, text := range map[string]string{
		`{"Filters":[{"Key":"state","Value":"READY"}]}`: `Unknown filter "state": filters are owner and tag:<key>`,
		`{"Filters":[{"Key":"tag:","Value":"x"}]}`:      `Unknown filter "tag:": filters are owner and tag:<key>`,
		`{"Filters":[{"Key":"Owner","Value":"x"}]}`:     `Unknown filter "Owner": filters are owner and tag:<key>`,
		`{"Filters":[null]}`:                            `Unknown filter "": filters are owner and tag:<key>`,
		`{"MaxResults":0}`:                              "MaxResults must be between 1 and 1000",
		`{"MaxResults":1001}`:                           "MaxResults must be between 1 and 1000",
	} {
		require.Equal(t, text, refused(t, a.post("/describeSessions", body), 400, messages.CodeInvalid))
	}
	refused(t, a.post("/describeServers", `{"MaxResults":-1}`), 400, messages.CodeInvalid)
}

// A list from a broker that is behind would read as "deleted" (design promise 3).
func TestDescribe_ABrokerThatMayBeBehindSaysSo(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.refusal = &messages.Refusal{Code: messages.CodeNotReady, RetryAfterMs: 1500, Detail: "waiting for the roster"}
	for _, path := range []string{"/describeSessions", "/describeServers"} {
		got := a.post(path, "")
		refused(t, got, http.StatusServiceUnavailable, messages.CodeNotReady)
		require.Equal(t, "2", got.header.Get("Retry-After"))
		require.Equal(t, `[{"code":"NOT_READY","detail":"waiting for the roster"}]`, got.header.Get("X-Failure-Details"))
	}
	refused(t, a.do("GET", "/sessionConnectionData/s/u", ""), http.StatusServiceUnavailable, messages.CodeNotReady)
}

func TestDescribeServers_FullForm(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("b"))
	full := linuxServer("a")
	full.Availability = messages.Availability_AVAILABILITY_UNAVAILABLE
	full.UnavailabilityReason = messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL
	a.fleet.putServer(full)

	got := a.post("/describeServers", `{"ServerIds":["b","x","a"]}`)
	servers := into[describedServers](t, got).Servers
	require.Len(t, servers, 2)
	require.Equal(t, asWireServer(linuxServer("b")), servers[0])
	require.Equal(t, "SERVER_FULL", servers[1].UnavailabilityReason)
	require.Contains(t, got.body, `"EC2InstanceId":"i-0123"`, "the case trap of contract section 1.2")
	require.Contains(t, got.body, `{"Key":"dcv:max-virtual-sessions","Value":"-1"}`)
	require.Equal(t, 1, strings.Count(got.body, "UnavailabilityReason"), "absent while available")

	list := into[describedServers](t, a.post("/describeServers", "")).Servers
	require.Equal(t, "a", list[0].ID, "in order of host name")
}

func TestDescribe_APageOfAThousandIsTheDefaultAndTheBound(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for i := range 1001 {
		a.fleet.putSession(readySession(fmt.Sprintf("s-%04d", i), "barbara", ""))
	}
	first := into[describedSessions](t, a.post("/describeSessions", ""))
	require.Len(t, first.Sessions, 1000)
	second := into[describedSessions](t, a.post("/describeSessions", `{"NextToken":"`+first.NextToken+`"}`))
	require.Len(t, second.Sessions, 1)
	require.Empty(t, second.NextToken)
}
