package consul

import (
	"cmp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"opensessionmanager/persistence"
)

// taken is what the most restrictive Consul, 1.21.5, takes in a key, less '/'.
const taken = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,_.-?&="

func TestEscape_KeepsOrderAndIdentity(t *testing.T) {
	t.Parallel()
	anyID := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9_./:\x00-]{0,12}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(r *rapid.T) {
		a, b := anyID.Draw(r, "a"), anyID.Draw(r, "b")
		if rapid.Bool().Draw(r, "common beginning") {
			b = a + b
		}
		x, y := escape(a), escape(b)
		require.Equal(r, cmp.Compare(a, b), cmp.Compare(x, y), "%q %q", x, y)
		require.LessOrEqual(r, len(x), escapedSize*len(a))
		require.Empty(r, strings.Trim(x, taken))
		require.NotContains(r, x, "..")
		back, ok := unescape(x)
		require.True(r, ok)
		require.Equal(r, a, back)
	})
}

func TestEscape_EachPairOfBytesKeepsItsOrder(t *testing.T) {
	t.Parallel()
	for a := range 255 {
		x, y := escape(string([]byte{byte(a), 0xff})), escape(string([]byte{byte(a + 1)}))
		require.Less(t, x, y, "%02x", a)
	}
}

// An operator finds what he looks for.
func TestEscape_IsReadable(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"3f2a41d0-77b6-4cf1-9a0e-0d8c61f5b2ee": "3f2a41d0-77b6-4cf1-9a0e-0d8c61f5b2ee",
		"Host-7":                               "Host-7",
		"host.example":                         "host.2eexample",
		"a b/c_z":                              "a,20b.2fc_5fz7a",
	} {
		require.Equal(t, want, escape(id))
	}
}

func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{"", "a", ".2f", ".2F", ".2", "z", "z7a", "zff", ",2d", "=ff", "_5f", "/", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if id, ok := unescape(escaped); ok && escape(id) != escaped {
			t.Errorf("%q is read as %q, which is written %q", escaped, id, escape(id))
		}
	})
}

func TestOpen_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"prefix from the root":  {Prefix: "/a"},
		"prefix upwards":        {Prefix: "a/../b"},
		"prefix with a hole":    {Prefix: "a//b"},
		"prefix with a space":   {Prefix: "a b"},
		"prefix of one slash":   {Prefix: "/"},
		"prefix too long":       {Prefix: strings.Repeat("p", 201)},
		"address with a path":   {Addresses: []string{"http://consul:8500/v1"}},
		"address with a secret": {Addresses: []string{"http://user:secret@consul:8500"}},
		"address of a socket":   {Addresses: []string{"unix:///run/consul"}},
		"address without host":  {Addresses: []string{"http://"}},
		"no such CA":            {TLS: TLS{CAFile: "absent.pem"}},
		"certificate, no key":   {TLS: TLS{CertFile: "cert.pem"}},
	} {
		_, err := Open(cfg)
		require.ErrorIs(t, err, ErrConfig, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

func TestDecodeNames_SkipsWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	const prefix = "p/records/thing/"
	names := []string{prefix + "b", prefix + "a", prefix, prefix + "folder/x", prefix + ".2", prefix + "zff", "p/other", prefix + "c"}
	var ids []string
	for _, key := range decodeNames("thing", prefix, "a", names) {
		require.Equal(t, "thing", key.Kind)
		ids = append(ids, key.ID)
	}
	require.Equal(t, []string{"b", "c"}, ids)
	require.ErrorIs(t, persistence.Key{Kind: "thing", ID: "\xff"}.Check(), persistence.ErrInvalidKey)
}

// Somebody wrote by hand what is no record: whoever reads that is told where it stands.
func TestValue_OfAnotherFormatIsNamed(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "foo"} {
		_, err := decodeValue("fleet/records/session/a", []byte(value))
		require.ErrorIs(t, err, persistence.ErrUnavailable)
		require.ErrorContains(t, err, `"fleet/records/session/a"`)
	}
}
