package rest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

type connectionData struct {
	Session         wireSession
	ConnectionToken string
}

func TestConnectionData_TokenForTheUserWhoConnects(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	session := readySession("console/1", `CORP\barbara`, "srv")
	session.DcvId = "console"
	a.fleet.putSession(session)

	got := a.do("GET", "/sessionConnectionData/console%2F1/CORP%5Ccarl", "")
	data := into[connectionData](t, got)
	require.Equal(t, "console/1", data.Session.ID)
	require.Equal(t, "10.0.0.1", data.Session.Server.IP)
	require.Len(t, data.Session.Server.Endpoints, 2)
	require.Equal(t, `token of CORP\carl for console of CORP\barbara`, data.ConnectionToken)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	require.NotContains(t, got.body, "RequestId", "the vendor's answer has none")
}

func TestConnectionData_Refusals(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.putServer(linuxServer("srv"))
	a.fleet.putSession(readySession("lost", "barbara", "unknown-server"))
	for name, state := range messages.SessionState_value {
		session := readySession(name, "barbara", "srv")
		session.State = messages.SessionState(state)
		a.fleet.putSession(session)
		got := a.do("GET", "/sessionConnectionData/"+name+"/barbara", "")
		if session.State == messages.SessionState_SESSION_STATE_READY {
			require.Equal(t, 200, got.status)
			continue
		}
		require.Contains(t, refused(t, got, 400, messages.CodeSessionNotReady), "not in READY state")
	}
	require.Contains(t, refused(t, a.do("GET", "/sessionConnectionData/lost/barbara", ""), 400, messages.CodeSessionNotReady), "not in READY state")
	for _, id := range []string{"absent", "%00", "..%2F..", "%ff", strings.Repeat("x", 3000)} {
		require.Contains(t, refused(t, a.do("GET", "/sessionConnectionData/"+id+"/barbara", ""), 400, messages.CodeSessionNotFound), "not found")
	}
	for _, user := range []string{"%0D%0Ax", "-x", "%ff", "%zz", strings.Repeat("u", 300)} {
		refused(t, a.do("GET", "/sessionConnectionData/lost/"+user, ""), 400, messages.CodeInvalid)
	}
	refused(t, a.do("GET", "/sessionConnectionData/%/u", ""), 400, messages.CodeInvalid)
}

func TestScreenshots_ItemByItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fleet.image = []byte{1, 2, 3}
	a.fleet.putSession(readySession("s", "barbara", ""))
	got := into[itemsAnswer[doneItem]](t, a.post("/getSessionScreenshots", `[
		{"SessionId":"s"},{"SessionId":"s","MaxWidth":null,"MaxHeight":70000},{"SessionId":"absent","MaxWidth":7},
		{"SessionId":"s","MaxWidth":0},{"SessionId":"s","MaxHeight":-1},{}]`))
	require.Len(t, got.SuccessfulList, 2)
	image := got.SuccessfulList[0].SessionScreenshot.Images[0]
	require.Equal(t, "png", image.Format)
	require.Equal(t, "AQID", image.Data)
	require.Equal(t, "2020-09-13T12:26:40.123Z", image.CreationTime)
	require.True(t, image.Primary)

	require.Equal(t, "Dcv session not found.", got.UnsuccessfulList[0].FailureReason)
	require.Equal(t, int64(7), *got.UnsuccessfulList[0].GetSessionScreenshotRequestData.MaxWidth)
	require.Equal(t, "MaxWidth must be at least 1", got.UnsuccessfulList[1].FailureReason)
	require.Equal(t, "MaxHeight must be at least 1", got.UnsuccessfulList[2].FailureReason)
	require.Equal(t, "SessionId is required", got.UnsuccessfulList[3].FailureReason)

	asked := a.fleet.asked[0]
	require.Equal(t, int64(160), asked[0].MaxWidth, "the broker's size")
	require.Equal(t, int64(100), asked[0].MaxHeight)
	require.Equal(t, int64(32767), asked[1].MaxHeight)
}

// C26, F45: a hundred large pictures do not fill the memory; what does not fit
// fails alone, and what cannot fit any more is not even taken.
func TestScreenshots_TheAnswerIsBounded(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *Config) { c.Options.MaxScreenshotAnswer, c.Options.ScreenshotBatch = 40_000, 10 })
	a.fleet.image = make([]byte, 3000)
	a.fleet.putSession(readySession("s", "barbara", ""))
	got := a.post("/getSessionScreenshots", "["+strings.Repeat(`{"SessionId":"s"},`, 99)+`{"SessionId":"s"}]`)
	require.Less(t, len(got.body), 60_000)
	lists := into[itemsAnswer[doneItem]](t, got)
	require.Len(t, lists.SuccessfulList, 9)
	require.Len(t, lists.UnsuccessfulList, 91)
	require.Contains(t, lists.UnsuccessfulList[0].FailureReason, "no room")
	require.LessOrEqual(t, len(got.header.Get("X-Failure-Details")), maxFailureHeader)
	require.Contains(t, got.header.Get("X-Failure-Details"), `{"more":`)
}
