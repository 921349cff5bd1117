package rest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"opensessionmanager/messages"
)

func TestCreateSessions_AcceptedItem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	permissions := base64.StdEncoding.EncodeToString([]byte("[permissions]\n"))
	got := into[itemsAnswer[wireSession]](t, a.post("/createSessions", `[{
		"Name":"Bureau n° 1 \ud83d\ude80","Owner":"CORP\\barbara","Type":"Virtual","InitFilePath":"sub/init.sh","AutorunFile":"run.sh",
		"AutorunFileArguments":["-x","it's; $(rm)"],"MaxConcurrentClients":4,"DcvGlEnabled":true,"PermissionsFile":"`+permissions+`",
		"Requirements":"tag:color = 'pink'","EnqueueRequest":true,"DisableRetryOnFailure":true,"StorageRoot":"%home%/x"},
		{"Name":"n","Owner":"o","Type":"console","InitFile":null,"AutorunFileArguments":null,"MaxConcurrentClients":null,
		"PermissionsFile":null,"Requirements":null,"EnqueueRequest":null,"DcvGlEnabled":null,"StorageRoot":null}]`))
	require.Empty(t, got.UnsuccessfulList)
	require.Len(t, got.SuccessfulList, 2)
	first := got.SuccessfulList[0]
	id, err := uuid.Parse(first.ID)
	require.NoError(t, err)
	require.Equal(t, uuid.Version(4), id.Version())
	require.Equal(t, "Bureau n° 1 🚀", first.Name)
	require.Equal(t, "VIRTUAL", first.Type)
	require.Equal(t, "CREATING", first.State)
	require.Equal(t, "SESSION_PLACING", first.Substate)
	require.Equal(t, "CONSOLE", got.SuccessfulList[1].Type)

	m := a.fleet.created[0]
	require.Equal(t, first.ID, m.SessionId)
	require.Equal(t, "client-1", m.RequestedBy)
	require.Equal(t, "sub/init.sh", m.Spec.InitFile, "the old name of InitFile")
	require.Equal(t, "[permissions]\n", string(m.Spec.PermissionsFile))
	require.True(t, m.Spec.EnqueueRequest && m.Spec.DisableRetryOnFailure && m.Spec.GetDcvGlEnabled())
	require.Equal(t, "tag:color = 'pink'", m.Spec.Requirements)
	require.Nil(t, a.fleet.created[1].Spec.PermissionsFile, "none means the host's default")
	require.Nil(t, a.fleet.created[1].Spec.MaxConcurrentClients)
}

// item is a good item with changes; nil takes a member out.
func item(changes map[string]any) string {
	members := map[string]any{"Name": "desk", "Owner": "barbara", "Type": "VIRTUAL"}
	for name, value := range changes {
		members[name] = value
	}
	encoded, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

// F29, F30, F31, F32: what could hurt a host is refused at the door, item by item.
func TestCreateSessions_RefusedItems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change map[string]any
		reason string
	}{
		{map[string]any{"Name": nil}, "Name is required"},
		{map[string]any{"Name": " "}, "Name is required"},
		{map[string]any{"Name": strings.Repeat("n", 257)}, "Name must have at most 256 bytes"},
		{map[string]any{"Name": "a\r\nb"}, "Name must not contain control characters"},
		{map[string]any{"Name": "a\u0085b"}, "Name must not contain control characters"},
		{map[string]any{"Owner": ""}, "Owner is required"},
		{map[string]any{"Owner": strings.Repeat("o", 257)}, "Owner must have at most 256 bytes"},
		{map[string]any{"Owner": "a\x00b"}, "Owner must not contain control characters"},
		{map[string]any{"Owner": "-rf"}, "Owner must not begin with '-'"},
		{map[string]any{"Owner": `CORP\-rf`}, "Owner must not begin with '-'"},
		{map[string]any{"Owner": `CORP\`}, `Owner with a domain must be DOMAIN\user`},
		{map[string]any{"Owner": `\user`}, `Owner with a domain must be DOMAIN\user`},
		{map[string]any{"Owner": `A\B\c`}, `Owner with a domain must be DOMAIN\user`},
		{map[string]any{"Owner": "../root"}, "Owner is not the name of a user"},
		{map[string]any{"Owner": " root"}, "Owner must not begin or end with a space"},
		{map[string]any{"Type": nil}, "Type is required"},
		{map[string]any{"Type": "CLOUD"}, "Type must be CONSOLE or VIRTUAL"},
		{map[string]any{"InitFile": "/etc/passwd"}, "InitFile must be a relative path"},
		{map[string]any{"InitFile": "C:x"}, "InitFile must be a relative path"},
		{map[string]any{"InitFile": "a/../../b"}, "InitFile must not contain '..'"},
		{map[string]any{"InitFile": "a/.. /b"}, "InitFile must not contain '..'"},
		{map[string]any{"InitFile": `..\b`}, "InitFile must not contain a backslash; separate folders with '/'"},
		{map[string]any{"InitFile": "a\x00"}, "InitFile must not contain control characters"},
		{map[string]any{"InitFile": strings.Repeat("a", 1025)}, "InitFile must have at most 1024 bytes"},
		{map[string]any{"InitFilePath": "../x"}, "InitFile must not contain '..'"},
		{map[string]any{"InitFile": "a", "InitFilePath": "b"}, "InitFile and InitFilePath differ; InitFilePath is the old name of InitFile"},
		{map[string]any{"InitFile": "a", "Type": "CONSOLE"}, "InitFile is for VIRTUAL sessions only"},
		{map[string]any{"AutorunFile": "/bin/sh"}, "AutorunFile must be a relative path"},
		{map[string]any{"AutorunFileArguments": []string{"a"}}, "AutorunFileArguments needs AutorunFile"},
		{map[string]any{"AutorunFile": "a", "Type": "CONSOLE", "AutorunFileArguments": []string{"a"}}, "AutorunFileArguments is for VIRTUAL sessions only"},
		{map[string]any{"AutorunFile": "a", "AutorunFileArguments": make([]string, 51)}, "AutorunFileArguments must have at most 50 arguments"},
		{map[string]any{"AutorunFile": "a", "AutorunFileArguments": []string{"", strings.Repeat("é", 151)}}, "AutorunFileArguments[1] must have at most 150 characters"},
		{map[string]any{"AutorunFile": "a", "AutorunFileArguments": []string{"a\x00b"}}, "AutorunFileArguments[0] must not contain NUL"},
		{map[string]any{"MaxConcurrentClients": 0}, "MaxConcurrentClients must be between 1 and 2147483647"},
		{map[string]any{"MaxConcurrentClients": -1}, "MaxConcurrentClients must be between 1 and 2147483647"},
		{map[string]any{"DcvGlEnabled": true, "Type": "CONSOLE"}, "DcvGlEnabled is for VIRTUAL sessions only"},
		{map[string]any{"PermissionsFile": "%%%"}, "PermissionsFile is not base64"},
		{map[string]any{"PermissionsFile": base64.StdEncoding.EncodeToString([]byte{0})}, "PermissionsFile is not a text in UTF-8"},
		{map[string]any{"StorageRoot": "relative"}, "StorageRoot must be an absolute path or begin with %home%"},
		{map[string]any{"StorageRoot": "C:relative"}, "StorageRoot must be an absolute path or begin with %home%"},
		{map[string]any{"StorageRoot": `\\host\share`}, "StorageRoot must be an absolute path or begin with %home%"},
		{map[string]any{"StorageRoot": "//host/share"}, "StorageRoot must not be a network path"},
		{map[string]any{"StorageRoot": "/a/../etc"}, "StorageRoot must not contain '..'"},
		{map[string]any{"StorageRoot": "%home%/.."}, "StorageRoot must not contain '..'"},
		{map[string]any{"StorageRoot": "%home%less"}, "StorageRoot must continue with a separator after %home%"},
		{map[string]any{"StorageRoot": "/a\n"}, "StorageRoot must not contain control characters"},
		{map[string]any{"Requirements": "server:Ip = '1.1.1.1'"}, "Server property server:Ip not found at column 1"},
		{map[string]any{"Requirements": "tag:n := 4"}, "Unexpected CONTAINS operator at column"},
	} {
		a := newAPI(t)
		sent := item(c.change)
		got := a.post("/createSessions", "["+sent+","+item(nil)+"]")
		lists := into[itemsAnswer[wireSession]](t, got)
		require.Len(t, lists.SuccessfulList, 1, "the other item is not concerned")
		require.Len(t, lists.UnsuccessfulList, 1, sent)
		failed := lists.UnsuccessfulList[0]
		require.True(t, strings.HasPrefix(failed.FailureReason, c.reason), failed.FailureReason)
		require.Contains(t, got.header.Get("X-Failure-Details"), `[{"item":0,"code":"INVALID_RE`)

		var want createSessionRequest
		require.NoError(t, json.Unmarshal([]byte(sent), &want))
		require.Equal(t, want, *failed.CreateSessionRequestData, "the item is given back")
	}
}

func TestCreateSessions_AcceptedNamesAndPaths(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, change := range []map[string]any{
		{"Owner": `CORP\john doe`}, {"Owner": "user@corp.example"}, {"Owner": "$(id);`x`"}, {"Owner": "日本語"},
		{"StorageRoot": `C:\storage\x`}, {"StorageRoot": "/data/home"}, {"StorageRoot": "%home%"},
		{"InitFile": "a..b/c"}, {"InitFile": "same", "InitFilePath": "same"}, {"AutorunFile": "x.bat", "Type": "console"},
		{"Requirements": "  "}, {"DcvGlEnabled": false, "Type": "CONSOLE"}, {"InitFile": "", "Type": "CONSOLE"},
	} {
		got := into[itemsAnswer[wireSession]](t, a.post("/createSessions", "["+item(change)+"]"))
		require.Empty(t, got.UnsuccessfulList, change)
	}
}

// C22, N4: a repeated request with its key creates nothing more.
func TestCreateSessions_IdempotencyKey(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	body := "[" + item(nil) + "," + item(nil) + "]"
	once := func(headers ...string) itemsAnswer[wireSession] {
		return into[itemsAnswer[wireSession]](t, a.post("/createSessions", body, headers...))
	}
	first, again := once("Idempotency-Key: k-1"), once("Idempotency-Key: k-1")
	require.Len(t, first.SuccessfulList, 2)
	require.NotEqual(t, first.SuccessfulList[0].ID, first.SuccessfulList[1].ID)
	require.Equal(t, first.SuccessfulList, again.SuccessfulList)
	require.NotEqual(t, first.RequestID, again.RequestID)

	for _, other := range []itemsAnswer[wireSession]{
		once("Idempotency-Key: k-2"), once(), once("Idempotency-Key: k-1", "Authorization: Bearer other"),
	} {
		require.NotContains(t, []string{first.SuccessfulList[0].ID, first.SuccessfulList[1].ID}, other.SuccessfulList[0].ID)
	}
	changed := into[itemsAnswer[wireSession]](t, a.post("/createSessions", "["+item(map[string]any{"Name": "other"})+"]", "Idempotency-Key: k-1"))
	require.Equal(t, "The Idempotency-Key was used with a different request", changed.UnsuccessfulList[0].FailureReason)

	elsewhere := newAPI(t, func(c *Config) { c.Secret = []byte("another fleet's") })
	theirs := into[itemsAnswer[wireSession]](t, elsewhere.post("/createSessions", body, "Idempotency-Key: k-1"))
	require.NotEqual(t, first.SuccessfulList[0].ID, theirs.SuccessfulList[0].ID)
}

// A repeat after the session went on still gets the answer of the first request.
func TestCreateSessions_ARepeatIsAnsweredLikeTheFirst(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	body := "[" + item(nil) + "]"
	first := into[itemsAnswer[wireSession]](t, a.post("/createSessions", body, "Idempotency-Key: k"))
	session, _ := a.fleet.Snapshot()
	known, _ := session.Session(first.SuccessfulList[0].ID)
	ready := readySession(known.View.Id, "barbara", "srv")
	ready.CreationUnixMs = known.View.CreationUnixMs
	a.fleet.putSession(ready)
	again := into[itemsAnswer[wireSession]](t, a.post("/createSessions", body, "Idempotency-Key: k"))
	require.Equal(t, first.SuccessfulList, again.SuccessfulList)
}

func TestCreateSessions_BadIdempotencyKeys(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, key := range []string{strings.Repeat("k", 256), "a b", "é"} {
		refused(t, a.post("/createSessions", "["+item(nil)+"]", "Idempotency-Key: "+key), 400, messages.CodeInvalid)
	}
	require.Empty(t, a.fleet.created)
}

// Every member counts, so that a reused key with other content is always noticed.
func TestSpecDigest_CoversEveryMember(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, change := range []map[string]any{
		nil, {"Name": "x"}, {"Owner": "x"}, {"Type": "CONSOLE"}, {"InitFile": "x"}, {"AutorunFile": "x"},
		{"AutorunFile": "x", "AutorunFileArguments": []string{"ab"}},
		{"AutorunFile": "x", "AutorunFileArguments": []string{"a", "b"}},
		{"MaxConcurrentClients": 1}, {"MaxConcurrentClients": 2}, {"DcvGlEnabled": true},
		{"PermissionsFile": ""}, {"PermissionsFile": "eA=="}, {"Requirements": "tag:a='b'"},
		{"EnqueueRequest": true}, {"DisableRetryOnFailure": true}, {"StorageRoot": "/x"},
	} {
		var request createSessionRequest
		require.NoError(t, json.Unmarshal([]byte(item(change)), &request))
		spec, refusal := newAPI(t).server.sessionSpec(&request)
		require.Nil(t, refusal)
		digest := string(specDigest(spec))
		require.Empty(t, seen[digest], "%v", change)
		seen[digest] = fmt.Sprint("as ", change)
	}
	require.Equal(t, specDigest(&messages.SessionSpec{Name: "n"}), specDigest(&messages.SessionSpec{Name: "n"}))
}
