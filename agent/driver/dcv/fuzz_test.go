package dcv

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// What dcv prints is outside data: no output may crash the agent, and whatever is
// believed must be fit for the agent protocol.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"id":"s-1","owner":"alice","type":"virtual","num-of-connections":1,"creation-time":"2024-01-14T12:15:09.7Z"}]`))
	f.Add([]byte(`[{"ip-address":"127.0.0.1","port":8443,"protocol":"HTTP","web-url-path":"/"}]`))
	f.Add([]byte(`{"images":[{"format":"png","base64":"iVBORw0KGgo="}]}`))
	f.Add([]byte("[connectivity]\nweb-port=8443\nweb-listen-endpoints=['[::]:8443']\n"))
	f.Add([]byte("Amazon DCV 2024.0 (r19030)"))
	f.Fuzz(func(t *testing.T, output []byte) {
		report := &messages.SessionsUpdateRequest{Facts: &messages.ServerFacts{DcvVersion: parseVersion(output)}}
		report.Sessions, _ = parseSessions(output)
		endpoints, _ := parseEndpoints(append([]byte(nil), output...))
		report.Facts.Endpoints = append(endpoints, parseServerConfig(output)...)
		images, _ := parseScreenshot(output, 1)
		for _, e := range report.Facts.Endpoints {
			require.Positive(t, e.GetPort())
			require.LessOrEqual(t, e.GetPort(), int32(65535))
		}
		_, err := agentproto.Encode(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: report}})
		require.NoError(t, err)
		_, err = agentproto.Encode(&messages.AgentFrame{Body: &messages.AgentFrame_ScreenshotResponse{
			ScreenshotResponse: &messages.ScreenshotResponse{Images: images}}})
		require.NoError(t, err)
		failure("create-session", errUnreadable, output, nil)
	})
}
