package agentproto_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

func hello(id string) *messages.AgentFrame {
	return &messages.AgentFrame{Body: &messages.AgentFrame_HelloRequest{HelloRequest: &messages.HelloRequest{RequestId: id}}}
}

func TestFrame_EveryMessageSurvivesARoundTrip(t *testing.T) {
	t.Parallel()
	fields := (&messages.AgentFrame{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		frame := &messages.AgentFrame{}
		body := frame.ProtoReflect().Mutable(field).Message()
		id := agentproto.NewRequestID()
		body.Set(body.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(id))

		text, err := agentproto.Encode(frame)
		require.NoError(t, err)
		got, err := agentproto.Decode(text)
		require.NoError(t, err)
		require.True(t, proto.Equal(frame, got))
		require.Equal(t, field.JSONName(), agentproto.Name(got))
		require.Equal(t, id, agentproto.RequestID(got))

		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &keys))
		require.Len(t, keys, 1)
		require.Contains(t, keys, field.JSONName())
	}
}

// Contract section 3: the one message of the vendor that is known.
func TestFrame_SessionsUpdateResponseIsTheVendors(t *testing.T) {
	t.Parallel()
	frame := &messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateResponse{
		SessionsUpdateResponse: &messages.SessionsUpdateResponse{
			RequestId: "0123456789abcdef0123456789abcdef",
			Result:    &messages.UpdateResult{Success: true},
		}}}
	text, err := agentproto.Encode(frame)
	require.NoError(t, err)
	require.JSONEq(t, `{"sessionsUpdateResponse":{"requestId":"0123456789abcdef0123456789abcdef","result":{"success":true}}}`, string(text))
}

func TestDecode_RefusesWhatIsNotOneMessage(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":            ``,
		"no key":             `{}`,
		"an array":           `[{"helloRequest":{}}]`,
		"two messages":       `{"helloRequest":{},"helloResponse":{}}`,
		"one message twice":  `{"helloRequest":{},"helloRequest":{}}`,
		"known and unknown":  `{"helloRequest":{},"later":{}}`,
		"null message":       `{"helloRequest":null}`,
		"wrong type":         `{"helloRequest":7}`,
		"NaN":                `{"createSessionRequest":{"maxConcurrentClients":NaN}}`,
		"unterminated":       `{"helloRequest":{"requestId":"a`,
		"trailing text":      `{"helloRequest":{}} {"helloRequest":{}}`,
		"trailing garbage":   `{"helloRequest":{}}x`,
		"invalid UTF-8":      "{\"helloRequest\":{\"requestId\":\"\xff\"}}",
		"duplicate key deep": `{"helloRequest":{"requestId":"a","requestId":"b"}}`,
		"closing first":      `}{"helloRequest":{}}`,
	} {
		_, err := agentproto.Decode([]byte(text))
		require.ErrorIs(t, err, agentproto.ErrMalformed, name)
	}
}

// F28: deep nesting and floods of values are refused before anything is built.
func TestDecode_BoundsDepthAndCount(t *testing.T) {
	t.Parallel()
	deep := `{"helloRequest":{"new":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}}`
	_, err := agentproto.Decode([]byte(deep))
	require.ErrorIs(t, err, agentproto.ErrTooComplex)

	wide := `{"sessionsUpdateRequest":{"sessions":[` + strings.Repeat("{},", agentproto.MaxValues) + `{}]}}`
	_, err = agentproto.Decode([]byte(wide))
	require.ErrorIs(t, err, agentproto.ErrTooComplex)
}

// F46: a newer peer adds keys and messages; both are skipped, not fatal.
func TestDecode_IgnoresWhatANewerPeerAdds(t *testing.T) {
	t.Parallel()
	frame, err := agentproto.Decode([]byte(`{"helloRequest":{"requestId":"a","colour":{"deep":[1,"\"}",null]}}}`))
	require.NoError(t, err)
	require.Equal(t, "a", agentproto.RequestID(frame))

	_, err = agentproto.Decode([]byte(`{"rebootRequest":{"requestId":"a"}}`))
	require.ErrorIs(t, err, agentproto.ErrUnknownMessage)
	require.NotErrorIs(t, err, agentproto.ErrMalformed)
}

func TestEncode_RefusesAnEmptyFrame(t *testing.T) {
	t.Parallel()
	for _, frame := range []*messages.AgentFrame{nil, {}} {
		_, err := agentproto.Encode(frame)
		require.ErrorIs(t, err, agentproto.ErrNoMessage)
		require.Empty(t, agentproto.Name(frame))
		require.Empty(t, agentproto.RequestID(frame))
	}
}

func TestEncode_AppendsToTheCallersBuffer(t *testing.T) {
	t.Parallel()
	buffer := make([]byte, 0, 4096)
	text, err := agentproto.Append(buffer, hello("a"))
	require.NoError(t, err)
	require.Same(t, &buffer[:1][0], &text[0])
}

func TestRequestID_Is32HexDigits(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `^[0-9a-f]{32}$`, agentproto.NewRequestID())
	require.NotEqual(t, agentproto.NewRequestID(), agentproto.NewRequestID())
}

// Screenshots are the large frames: the bytes come back whole.
func TestFrame_ScreenshotBytesSurvive(t *testing.T) {
	t.Parallel()
	data := make([]byte, 1<<20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	frame := &messages.AgentFrame{Body: &messages.AgentFrame_ScreenshotResponse{ScreenshotResponse: &messages.ScreenshotResponse{
		RequestId: "a", Images: []*messages.ScreenshotImage{{Format: "png", Data: data, Primary: true}},
	}}}
	text, err := agentproto.Encode(frame)
	require.NoError(t, err)
	got, err := agentproto.Decode(text)
	require.NoError(t, err)
	require.True(t, proto.Equal(frame, got))
}

// What Decode takes, Encode gives back, and Decode reads the same again; nothing panics.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"helloRequest":{"requestId":"a","protocolVersion":{"major":1},"facts":{"tags":{"a":"b"}}}}`,
		`{"sessionsUpdateRequest":{"requestId":"a","asOf":"3","sessions":[{"id":"console","num-of-connections":1}]}}`,
		`{"screenshotResponse":{"images":[{"data":"AAAA"}]}}`,
		`{"later":1}`, `{"a\"b":{}}`, `{"helloRequest":{}}}`, `[[[[`, `"`, `\"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := agentproto.Decode(data)
		if err != nil {
			return
		}
		text, err := agentproto.Encode(frame)
		require.NoError(t, err)
		again, err := agentproto.Decode(text)
		require.NoError(t, err)
		require.Equal(t, protojson.Format(frame), protojson.Format(again))
	})
}

func BenchmarkDecodeReport(b *testing.B) {
	update := &messages.SessionsUpdateRequest{RequestId: agentproto.NewRequestID(), Load: &messages.ServerLoad{DcvHealthy: true}}
	for range 10 {
		update.Sessions = append(update.Sessions, &messages.DcvSession{Id: "console", Owner: "ubuntu", Type: "console", Status: "created"})
	}
	text, err := agentproto.Encode(&messages.AgentFrame{Body: &messages.AgentFrame_SessionsUpdateRequest{SessionsUpdateRequest: update}})
	require.NoError(b, err)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := agentproto.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
