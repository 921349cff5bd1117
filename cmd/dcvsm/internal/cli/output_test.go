package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cmd/dcvsm/internal/api"
)

func TestSnake_NamesAsThePythonClientDoes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Id": "id", "RequestId": "request_id", "DefaultDnsName": "default_dns_name", "EC2InstanceType": "ec2_instance_type",
		"GetSessionScreenshotRequestData": "get_session_screenshot_request_data", "PhysicalCoresPerCpu": "physical_cores_per_cpu",
	} {
		require.Equal(t, want, snake(name))
	}
}

func TestPrintJSON_IsASCIIAndComplete(t *testing.T) {
	t.Parallel()
	text := "a<b>&\x1b\u202e\u007f東😀\xff"
	var out bytes.Buffer
	require.NoError(t, printJSON(&out, &api.ConnectionData{ConnectionToken: &text}))
	require.Equal(t, "{\n    \"session\": null,\n    \"connection_token\": \"a<b>&\\u001b\\u202e\\u007f\\u6771\\ud83d\\ude00\\ufffd\"\n}\n", out.String())
	require.True(t, json.Valid(out.Bytes()))
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"Sessions":[{"Id":"\u001b","Server":{"Tags":[{"Key":null}]}}]}`))
	f.Add([]byte(`{"SuccessfulList":[null],"UnsuccessfulList":[{"FailureDetails":{"Servers":[{}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, answer := range []any{new(api.SessionsPage), new(api.ServersPage), new(api.CreateAnswer), new(api.ScreenshotsAnswer), new(api.CloseServersAnswer), new(api.ConnectionData)} {
			if json.Unmarshal(data, answer) != nil {
				continue
			}
			var out bytes.Buffer
			require.NoError(t, printJSON(&out, answer))
			require.True(t, json.Valid(out.Bytes()))
			require.NoError(t, printTable(&out, answer))
			App{Stderr: &out}.explainFailures(answer)
			for _, c := range out.String() {
				require.True(t, c == '\n' || c >= ' ' && c != 0x7f, "control character in the output")
			}
		}
	})
}
