package apitest_test

import (
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"opensessionmanager/http/rest/apitest"
	"opensessionmanager/http/rest/openapi"
)

func headers(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"6f1c0f5a-0000-4000-8000-000000000001"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestChecker_FindsWhatDiffers(t *testing.T) {
	t.Parallel()
	checker, err := apitest.New()
	require.NoError(t, err)
	const good = `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":[]}`
	require.NoError(t, checker.Check("POST", "/describeSessions", 200, headers(), []byte(good)))

	for what, body := range map[string]string{
		"an unknown member":   `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":[],"X":1}`,
		"a missing member":    `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001"}`,
		"a null":              `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":null}`,
		"a repeated member":   `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":[],"Sessions":[]}`,
		"something different": `[]`,
		"a wrong id":          `{"RequestId":"1","Sessions":[]}`,
		"a wrong state": `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":[
			{"Id":"s","Name":"","Owner":"","Type":"VIRTUAL","State":"Ready","NumOfConnections":0}]}`,
		"a wrong time": `{"RequestId":"6f1c0f5a-0000-4000-8000-000000000001","Sessions":[
			{"Id":"s","Name":"","Owner":"","Type":"VIRTUAL","State":"READY","NumOfConnections":0,"CreationTime":"2020-10-06T10:15:31Z"}]}`,
	} {
		require.ErrorIs(t, checker.Check("POST", "/describeSessions", 200, headers(), []byte(body)), apitest.ErrAnswer, what)
	}
	require.ErrorIs(t, checker.Check("POST", "/describeSessions", 200, headers("Content-Type", "text/plain"), []byte(good)), apitest.ErrAnswer)
	require.ErrorIs(t, checker.Check("POST", "/describeSessions", 200, headers("X-Request-Id", "1"), []byte(good)), apitest.ErrAnswer)
	require.ErrorIs(t, checker.Check("POST", "/describeSessions", 204, headers(), nil), apitest.ErrAnswer)
	require.ErrorIs(t, checker.Check("GET", "/nothing", 200, headers(), []byte(good)), apitest.ErrAnswer)

	const no = `{"error": "x"}`
	require.NoError(t, checker.Check("POST", "/describeSessions", 503, headers("X-Error-Code", "NOT_READY", "Retry-After", "1"), []byte(no)))
	require.ErrorIs(t, checker.Check("POST", "/describeSessions", 503, headers(), []byte(no)), apitest.ErrAnswer)
	require.ErrorIs(t, checker.Check("POST", "/describeSessions", 503, headers("X-Error-Code", "A", "Retry-After", "0"), []byte(no)), apitest.ErrAnswer)
}

// A description that lets unknown members or nulls pass would prove nothing.
func TestDescription_IsStrict(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(openapi.YAML()))
	require.NoError(t, err)
	require.Len(t, doc.Paths.Map(), 11, "nine operations, the token endpoint and health")
	for name, schema := range doc.Components.Schemas {
		strict(t, name, schema)
	}
}

func strict(t *testing.T, name string, ref *openapi3.SchemaRef) {
	schema := ref.Value
	require.False(t, schema.Nullable, name)
	require.NotNil(t, schema.Type, name)
	if schema.Type.Is(openapi3.TypeObject) {
		require.NotNil(t, schema.AdditionalProperties.Has, name)
		require.False(t, *schema.AdditionalProperties.Has, name)
	}
	for member, inner := range schema.Properties {
		strict(t, name+"."+member, inner)
	}
	if schema.Items != nil {
		strict(t, name+"[]", schema.Items)
	}
	for _, member := range schema.Required {
		require.Contains(t, schema.Properties, member, name)
	}
}
