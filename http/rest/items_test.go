package rest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/messages"
)

func TestDeleteSessions_ItemByItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putSession(readySession("s-1", "barbara", ""))
	got := a.post("/deleteSessions", `[
		{"SessionId":"s-1","Owner":"barbara","Force":true},
		{"SessionId":"gone","Owner":"barbara","Force":null},
		{"SessionId":"s-1"}, {"Owner":"barbara"}]`)
	lists := into[itemsAnswer[doneItem]](t, got)
	require.Equal(t, []doneItem{{SessionID: "s-1", State: "DELETING"}}, lists.SuccessfulList)
	require.Len(t, lists.UnsuccessfulList, 3)
	require.Equal(t, "gone", lists.UnsuccessfulList[0].SessionID)
	require.Equal(t, "The requested dcvSession does not exist", lists.UnsuccessfulList[0].FailureReason)
	require.Equal(t, "Owner is required", lists.UnsuccessfulList[1].FailureReason)
	require.Equal(t, "SessionId is required", lists.UnsuccessfulList[2].FailureReason)
	require.NotContains(t, got.body, "FailureCode", "the vendor's members only")
	require.JSONEq(t, `[{"item":1,"code":"SESSION_NOT_FOUND"},
		{"item":2,"code":"INVALID_REQUEST","detail":"Owner is required"},
		{"item":3,"code":"INVALID_REQUEST","detail":"SessionId is required"}]`, got.header.Get("X-Failure-Details"))
}

// F35: whatever is guessed, somebody else's session looks like none at all.
func TestSessions_OfOthersLookLikeNone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a := newAPI(t)
		a.fleet.putSession(readySession("theirs", "barbara", ""))
		owner := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"Barbara", "barbara ", "BARBARA", `X\barbara`, "barb\x00ara"})).
			Filter(func(s string) bool { return s != "barbara" && s != "" }).Draw(rt, "owner")
		item := func(id string) string {
			body, err := json.Marshal([]map[string]string{{"SessionId": id, "Owner": owner}})
			require.NoError(rt, err)
			return string(body)
		}
		theirs, none := a.post("/deleteSessions", item("theirs")), a.post("/deleteSessions", item("nobody"))
		require.Equal(rt, reasons(t, none), reasons(t, theirs))
		require.Equal(rt, none.header.Get("X-Failure-Details"), theirs.header.Get("X-Failure-Details"))
		session, _ := a.fleet.Snapshot()
		_, still := session.Session("theirs")
		require.True(rt, still)
	})
}

func reasons(t testing.TB, got answer) (list []string) {
	for _, item := range into[itemsAnswer[doneItem]](t, got).UnsuccessfulList {
		list = append(list, item.FailureReason)
	}
	return list
}

func TestUpdateSessionPermissions_ItemByItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putSession(readySession("s-1", "barbara", ""))
	file := base64.StdEncoding.EncodeToString([]byte("[permissions]\n%any% allow builtin\n"))
	got := a.do("PUT", "/sessionPermissions", fmt.Sprintf(`[
		{"SessionId":"s-1","Owner":"barbara","PermissionsFile":%q},
		{"SessionId":"s-1","Owner":"barbara","PermissionsFile":""},
		{"SessionId":"s-1","Owner":"carl","PermissionsFile":%q},
		{"SessionId":"s-1","Owner":"barbara"},
		{"SessionId":"s-1","Owner":"barbara","PermissionsFile":"***"},
		{"SessionId":"s-1","Owner":"barbara","PermissionsFile":"/w=="},
		{"SessionId":"s-1","Owner":"barbara","PermissionsFile":%q}]`,
		file, file, base64.StdEncoding.EncodeToString(make([]byte, 64<<10+1))))
	lists := into[itemsAnswer[doneItem]](t, got)
	require.Len(t, lists.SuccessfulList, 2)
	require.Equal(t, []string{
		"The requested dcvSession does not exist", "PermissionsFile is required", "PermissionsFile is not base64",
		"PermissionsFile is not a text in UTF-8", "PermissionsFile must have at most 65536 bytes",
	}, reasons(t, got))
	require.Equal(t, "[permissions]\n%any% allow builtin\n", string(a.fleet.permissions[0].PermissionsFile))
	require.NotNil(t, a.fleet.permissions[1].PermissionsFile, "an empty file revokes everything")
}

func TestOpenAndCloseServers_ItemByItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	busy := linuxServer("busy")
	busy.VirtualSessions = 1
	a.fleet.putServer(busy)
	a.fleet.putServer(linuxServer("idle"))

	got := into[itemsAnswer[doneItem]](t, a.post("/closeServers",
		`[{"ServerId":"idle"},{"ServerId":"busy","Force":true},{"ServerId":"busy"},{"ServerId":"none","Force":false},{}]`))
	require.Equal(t, []doneItem{{ServerID: "idle"}, {ServerID: "busy"}}, got.SuccessfulList)
	require.Equal(t, "DCV_SERVER_HAS_SESSIONS", got.UnsuccessfulList[0].FailureCode)
	require.Equal(t, "busy", got.UnsuccessfulList[0].CloseServerRequestData.ServerID)
	require.Equal(t, "DCV_SERVER_NOT_FOUND", got.UnsuccessfulList[1].FailureCode)
	require.Equal(t, "Dcv server not found.", got.UnsuccessfulList[1].FailureReason)
	require.False(t, *got.UnsuccessfulList[1].CloseServerRequestData.Force)
	require.Equal(t, "ServerId is required", got.UnsuccessfulList[2].FailureReason)

	got = into[itemsAnswer[doneItem]](t, a.post("/openServers", `[{"ServerId":"busy"},{"ServerId":"none"},{"ServerId":"a\u0000b"}]`))
	require.Equal(t, []doneItem{{ServerID: "busy"}}, got.SuccessfulList)
	require.Equal(t, "none", got.UnsuccessfulList[0].OpenServerRequestData.ServerID)
	require.Equal(t, "Dcv server not found.", got.UnsuccessfulList[1].FailureReason)
}

// Nothing happened and nothing could: clients and balancers repeat a 503.
func TestItems_ABrokerThatCannotWorkRefusesTheWholeRequest(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.refusal = &messages.Refusal{Code: messages.CodeStoreUnavailable, RetryAfterMs: 1}
	got := a.post("/deleteSessions", `[{"SessionId":"a","Owner":"b"},{"SessionId":"c","Owner":"d"}]`)
	refused(t, got, http.StatusServiceUnavailable, messages.CodeStoreUnavailable)
	require.Equal(t, "1", got.header.Get("Retry-After"))

	mixed := a.post("/deleteSessions", `[{"SessionId":"a","Owner":"b"},{}]`)
	require.Equal(t, []string{"The broker cannot store anything at the moment", "SessionId is required"}, reasons(t, mixed))
}

func TestItems_AFleetThatAnswersTooLittleIsOurFault(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.short = true
	require.Equal(t, []string{"The broker failed to answer; its log has the request id"},
		reasons(t, a.post("/deleteSessions", `[{"SessionId":"a","Owner":"b"}]`)))
}

func TestItems_AnEmptyListIsAnswered(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, path := range []string{"/createSessions", "/deleteSessions", "/getSessionScreenshots", "/openServers", "/closeServers"} {
		require.Contains(t, a.post(path, "[]").body, `"SuccessfulList":[],"UnsuccessfulList":[]}`)
	}
}

// N1: the caller learns why no server was found, and how many failed on what.
func TestItems_ExplainTrueTellsWhy(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.perItem = map[string]*messages.Refusal{"desk": {
		Code: messages.CodeNoServer, Text: "other words", Detail: "3 servers looked at", RetryAfterMs: 5000,
		Counts: []*messages.RefusalCount{{Criterion: "requirements", Servers: 2}, {Criterion: "full", Servers: 1}},
	}}
	body := `[{"Name":"desk","Owner":"barbara","Type":"VIRTUAL"}]`
	plain := a.post("/createSessions", body)
	require.Equal(t, []string{"No DCV server found for the given criteria"}, reasons(t, plain))
	require.NotContains(t, plain.body, "FailureDetails")
	require.JSONEq(t, `[{"item":0,"code":"NO_SERVER_AVAILABLE","detail":"3 servers looked at","counts":{"requirements":2,"full":1}}]`,
		plain.header.Get("X-Failure-Details"))

	item := into[itemsAnswer[wireSession]](t, a.post("/createSessions?explain=true", body)).UnsuccessfulList[0]
	require.Equal(t, "NO_SERVER_AVAILABLE", item.FailureCode)
	require.Equal(t, "3 servers looked at", item.FailureDetails.Detail)
	require.Equal(t, 2, item.FailureDetails.Servers[0].Count)
	require.Equal(t, int64(5000), item.FailureDetails.RetryAfterMs)
}

func TestFailureHeader_IsBoundedASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failures []failure
		for i := range rapid.IntRange(1, 60).Draw(rt, "n") {
			failures = append(failures, failure{item: i, refusal: &messages.Refusal{
				Code:   messages.CodeInvalid,
				Detail: rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.Rune(), 0, 400, -1)).Draw(rt, "detail"),
				Counts: []*messages.RefusalCount{{Criterion: "a\r\nb", Servers: 1}},
			}})
		}
		value := appendFailureHeader(nil, failures)
		require.LessOrEqual(rt, len(value), maxFailureHeader)
		for _, c := range value {
			require.True(rt, c >= ' ' && c <= '~', "printable ASCII: %q", value)
		}
		var read []struct {
			Item   int    `json:"item"`
			Detail string `json:"detail"`
			More   int    `json:"more"`
		}
		require.NoError(rt, json.Unmarshal(value, &read))
		last := read[len(read)-1]
		require.Equal(rt, len(failures), len(read)-min(last.More, 1)+last.More, "every failure is listed or counted")
		if want := failures[0].refusal.Detail; len(want) <= maxHeaderDetail {
			require.Equal(rt, strings.ToValidUTF8(want, "\ufffd"), read[0].Detail)
		}
	})
}
