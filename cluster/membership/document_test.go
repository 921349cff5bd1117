package membership

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecode_ReadsWhatEncodeWrote(t *testing.T) {
	t.Parallel()
	d := doc(7, "a", "b")
	d.Gone = []gone{{ID: "c", UnixMS: 12, Left: true}}
	data, err := d.encode()
	require.NoError(t, err)
	back, err := decode(data, 1)
	require.NoError(t, err)
	require.Equal(t, d, back)
	require.Equal(t, &View{Epoch: 7, Protocol: 1, Members: []Member{{"a", "a:47200"}, {"b", "b:47200"}}}, back.view())
}

func TestDecode_IgnoresWhatLaterVersionsAdd(t *testing.T) {
	t.Parallel()
	_, err := decode([]byte(`{"protocol":1,"epoch":1,"mood":[1],"members":[{"id":"a","address":"a:1","protocol":2,"oldest":1,"zone":"x"}]}`), 1)
	require.NoError(t, err)
}

// Refused clearly: an operator's slip, another program's key, a hostile writer.
func TestDecode_RefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	member := `{"id":"a","address":"a:1","protocol":1,"oldest":1}`
	for name, text := range map[string]string{
		"nothing":          ``,
		"text":             `hello`,
		"another document": `{"name":"x"}`,
		"null":             `null`,
		"version 0":        `{"protocol":0,"epoch":1,"members":[` + member + `]}`,
		"no members":       `{"protocol":1,"epoch":1,"members":[]}`,
		"no epoch":         `{"protocol":1,"members":[` + member + `]}`,
		"negative epoch":   `{"protocol":1,"epoch":-1,"members":[` + member + `]}`,
		"last epoch":       `{"protocol":1,"epoch":18446744073709551615,"members":[` + member + `]}`,
		"a member twice":   `{"protocol":1,"epoch":1,"members":[` + member + `,` + member + `]}`,
		"no address":       `{"protocol":1,"epoch":1,"members":[{"id":"a","protocol":1,"oldest":1}]}`,
		"control bytes":    `{"protocol":1,"epoch":1,"members":[{"id":"a\n","address":"a:1","protocol":1,"oldest":1}]}`,
		"a path as ID":     `{"protocol":1,"epoch":1,"members":[{"id":"../a","address":"a:1","protocol":1,"oldest":1}]}`,
		"a long ID":        `{"protocol":1,"epoch":1,"members":[{"id":"` + strings.Repeat("a", 129) + `","address":"a:1","protocol":1,"oldest":1}]}`,
		"no version":       `{"protocol":1,"epoch":1,"members":[{"id":"a","address":"a:1"}]}`,
		"members as text":  `{"protocol":1,"epoch":1,"members":"a"}`,
		"too deep":         `{"protocol":1,"epoch":1,"members":` + strings.Repeat("[", 20000) + `}`,
		"too large":        `{"protocol":1,"epoch":1,"members":[` + member + `]}` + strings.Repeat(" ", maxDocument),
		"too many members": tooMany(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decode([]byte(text), 1)
			require.ErrorIs(t, err, ErrForeign)
			require.Less(t, len(err.Error()), 300)
		})
	}
}

func tooMany() string {
	d := &document{Protocol: 1, Epoch: 1}
	for i := range maxMembers + 1 {
		d.Members = append(d.Members, Entry{ID: fmt.Sprintf("m%04d", i), Address: "a:1", Protocol: 1, Oldest: 1})
	}
	data, _ := json.Marshal(d)
	return string(data)
}

func TestDecode_SaysThatTheFleetIsNewer(t *testing.T) {
	t.Parallel()
	_, err := decode([]byte(`{"protocol":3,"whatever":"form"}`), 2)
	require.ErrorIs(t, err, ErrIncompatible)
	require.ErrorContains(t, err, "the fleet speaks protocol 3 or newer, this broker up to 2: start the version that the others run")
}

// The document has the oldest form that all members know, so that the version before can
// come back; they say to each other what the newest knows that all know.
func TestDocument_HasTheOldestFormThatAllKnow(t *testing.T) {
	t.Parallel()
	d := (&document{Epoch: 1}).with(Entry{ID: "n", Address: "n:1", Protocol: 3, Oldest: 2})
	require.Equal(t, 2, d.Protocol)
	require.Equal(t, 3, d.view().Protocol)
	d = d.with(Entry{ID: "o", Address: "o:1", Protocol: 2, Oldest: 1})
	require.Equal(t, 2, d.Protocol)
	require.Equal(t, 2, d.view().Protocol)
	require.Equal(t, 2, d.without(gone{ID: "o"}, nil).Protocol)
	require.Equal(t, 1, d.without(gone{ID: "n"}, nil).Protocol)
	require.True(t, compatible(d.Members[0], d.Members[1]))
	require.False(t, compatible(d.Members[0], Entry{Protocol: 1, Oldest: 1}))
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"epoch":1,"members":[{"id":"a","address":"a:1","protocol":1,"oldest":1}],"gone":[{"id":"b"}]}`))
	f.Add([]byte(tooMany()))
	f.Add([]byte(`{"protocol":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decode(data, 1)
		if err != nil {
			return
		}
		require.NoError(t, d.check())
		again, err := d.encode()
		require.NoError(t, err)
		back, err := decode(again, 1)
		if len(again) <= maxDocument {
			require.NoError(t, err)
			require.Equal(t, d.Members, back.Members)
		}
		s := calm()
		s.stored = d
		if p := decide(s); p != nil && d.Epoch < maxEpoch-1 {
			require.NoError(t, p.next.check())
		}
	})
}
