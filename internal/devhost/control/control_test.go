package control_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/devhost/control"
)

func TestDecode_TakesOneKnownObject(t *testing.T) {
	t.Parallel()
	r, err := control.Decode([]byte(`{"command":"describe-session","session":"s-1"}` + "\n"))
	require.NoError(t, err)
	require.Equal(t, control.Request{Command: control.DescribeSession, Session: "s-1"}, r)
}

func TestDecode_RefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"nothing":          "",
		"no object":        `["list-sessions"]`,
		"no command":       `{}`,
		"unknown property": `{"command":"list-sessions","colour":"red"}`,
		"two values":       `{"command":"list-sessions"}{"command":"list-sessions"}`,
		"deep nesting":     strings.Repeat(`{"create":`, 20_000),
		"too long":         `{"command":"` + strings.Repeat("x", control.MaxRequest) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := control.Decode([]byte(line))
			require.ErrorIs(t, err, control.ErrRequest)
		})
	}
}

func TestReadRequest_StopsAtTheLimit(t *testing.T) {
	t.Parallel()
	_, err := control.ReadRequest(strings.NewReader(strings.Repeat("x", 2*control.MaxRequest)))
	require.ErrorIs(t, err, control.ErrRequest)
}

func TestFault_CheckNamesTheMistake(t *testing.T) {
	t.Parallel()
	require.NoError(t, control.Fault{Kind: control.Fail}.Check())
	require.ErrorContains(t, control.Fault{Kind: "explode"}.Check(), "unknown kind")
	require.ErrorContains(t, control.Fault{Kind: control.Slow}.Check(), "needs a delay")
	require.ErrorContains(t, control.Fault{Kind: control.Garbage, Form: "x"}.Check(), "form")
	require.ErrorContains(t, control.Fault{Kind: control.LoseSession}.Check(), "needs a session")
	require.ErrorContains(t, control.Fault{Kind: control.Fail, Times: -1}.Check(), "times")
	require.ErrorContains(t, control.Fault{Kind: control.Fail, Message: strings.Repeat("x", 2000)}.Check(), "longer")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"command":"create-session","session":"a","create":{"type":"virtual","max_concurrent_clients":3}}`))
	f.Add([]byte(`{"command":"inject-fault","fault":{"kind":"stall","delay_ms":12}}`))
	f.Add([]byte(`{"command":`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := control.Decode(line)
		if err != nil {
			require.ErrorIs(t, err, control.ErrRequest)
			return
		}
		require.NotEmpty(t, r.Command)
		if r.Fault != nil {
			_ = r.Fault.Check()
		}
	})
}
