package finder

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func join(t *testing.T, port int, fleet string) *Multicast {
	t.Helper()
	if _, err := interfacesOf(""); err != nil {
		t.Skip("multicast cannot be tested here: ", err)
	}
	m, err := NewMulticast(MulticastConfig{Group: netip.MustParseAddr("239.255.77.1"), Port: port, Fleet: fleet,
		Interval: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.LocalAddr().(*net.UDPAddr).Port
}

// On this machine's own interfaces, with datagrams that really leave.
func TestMulticast_BrokersHearOfEachOther(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	a, b, foreign := join(t, port, "f1"), join(t, port, "f1"), join(t, port, "f2")
	a.Announce("10.0.0.1:47500")
	b.Announce(":47501")
	foreign.Announce("10.0.0.3:47500")
	for _, m := range []*Multicast{a, b} {
		require.Eventually(t, func() bool {
			found, complete := m.Candidates()
			return !complete && slices.Contains(found, "10.0.0.1:47500") &&
				slices.ContainsFunc(found, func(s string) bool { return s != "10.0.0.1:47500" && s[len(s)-6:] == ":47501" })
		}, 30*time.Second, 10*time.Millisecond)
		<-m.Ready()
		found, _ := m.Candidates()
		require.NotContains(t, found, "10.0.0.3:47500", "of another fleet")
	}
	b.end() // it falls silent
	require.Eventually(t, func() bool {
		found, _ := a.Candidates()
		return slices.Equal(found, []string{"10.0.0.1:47500"})
	}, 30*time.Second, 10*time.Millisecond)
}

func TestMulticast_RemembersNotTooMany(t *testing.T) {
	t.Parallel()
	m := &Multicast{cfg: MulticastConfig{Interval: time.Minute}, heard: map[string]time.Time{}, answer: make(chan struct{}, 1)}
	for i := range 10_000 {
		m.hear(fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))
	}
	m.hear("10.1.0.1:1")
	found, _ := m.Candidates()
	require.Len(t, found, maxAnnounced)
	require.Contains(t, found, "10.1.0.1:1", "who announces itself now goes before who did")
}

func TestParse(t *testing.T) {
	t.Parallel()
	from := netip.MustParseAddr("::ffff:192.0.2.7")
	for text, want := range map[string]string{
		"OSM1 f 10.0.0.1:47500":     "10.0.0.1:47500",
		"OSM1 f broker.example:1":   "broker.example:1",
		"OSM1 f :47500":             "192.0.2.7:47500",
		"OSM1 g :47500":             "",
		"OSM2 f :47500":             "",
		"OSM1 f 10.0.0.1":           "",
		"OSM1 f :0":                 "",
		"OSM1 f :65536":             "",
		"OSM1 f a:1 b":              "",
		"":                          "",
		string(make([]byte, 20000)): "",
	} {
		got, ok := parse([]byte(text), "f", from)
		require.Equal(t, want, got, text)
		require.Equal(t, want != "", ok)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("OSM1 f :47500"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, ok := parse(data, "f", netip.MustParseAddr("192.0.2.7")); ok {
			host, _, err := net.SplitHostPort(a)
			require.NoError(t, err)
			require.NotEmpty(t, host)
		}
	})
}
