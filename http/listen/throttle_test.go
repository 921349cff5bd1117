package listen_test

import (
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"opensessionmanager/http/listen"
)

// However callers come and go, nobody gets more than the rate and one burst, unless
// forgotten, and who comes again after the time that was named is let in.
func TestThrottle_NobodyGetsMoreThanTheRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.IntRange(1, 50).Draw(t, "rate")
		burst := rapid.IntRange(1, 50).Draw(t, "burst")
		throttle := listen.NewThrottle[int](float64(perSecond), burst)
		begun := time.Unix(1_000_000, 0)
		now := begun
		allowed := map[int]int{}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "pause")) * time.Millisecond)
			caller := rapid.IntRange(0, 3).Draw(t, "caller")
			wait, exhausted := throttle.Exhausted(caller, now)
			told, ok := throttle.Allow(caller, now)
			require.Equal(t, exhausted, !ok)
			require.Equal(t, wait, told)
			if ok {
				allowed[caller]++
				continue
			}
			require.Positive(t, wait)
			require.LessOrEqual(t, wait, time.Second/time.Duration(perSecond)+time.Millisecond)
			_, exhausted = throttle.Exhausted(caller, now.Add(wait))
			require.False(t, exhausted, "came again when told to")
		}
		most := float64(burst) + now.Sub(begun).Seconds()*float64(perSecond) + 1
		for _, n := range allowed {
			require.LessOrEqual(t, float64(n), most)
		}
	})
}

// F39: a flood from a million addresses costs a bounded piece of memory.
func TestThrottle_RemembersABoundedNumberOfCallers(t *testing.T) {
	throttle := listen.NewThrottle[netip.Addr](1, 1)
	now := time.Now()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 1_000_000 {
		throttle.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(16<<20))
	_, ok := throttle.Allow(netip.AddrFrom4([4]byte{10, 15, 0x42, 0x3f}), now)
	require.False(t, ok, "who came last is still known")
}

// F39: beyond the rate a caller is told when to come again; balancers are always answered.
func TestThrottled_TellsWhenToComeAgain(t *testing.T) {
	t.Parallel()
	refused := 0
	handler := listen.Throttled(func(rc *fasthttp.RequestCtx) { rc.SetBodyString("fine") },
		listen.NewThrottle[netip.Addr](0.25, 2), func(*fasthttp.RequestCtx) { refused++ }, "/health")
	ask := func(path string, from net.Addr) *fasthttp.RequestCtx {
		var rc fasthttp.RequestCtx
		var request fasthttp.Request
		request.SetRequestURI(path)
		rc.Init(&request, from, nil)
		handler(&rc)
		return &rc
	}
	one := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for range 2 {
		require.Equal(t, http.StatusOK, ask("/describeSessions", one).Response.StatusCode())
	}
	rc := ask("/oauth2/token", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 2})
	require.Equal(t, http.StatusTooManyRequests, rc.Response.StatusCode())
	require.Equal(t, `{"error": "Too many requests"}`, string(rc.Response.Body()))
	require.Equal(t, "TOO_MANY_REQUESTS", string(rc.Response.Header.Peek("X-Error-Code")))
	seconds, err := strconv.Atoi(string(rc.Response.Header.Peek("Retry-After")))
	require.NoError(t, err)
	require.InDelta(t, 4, seconds, 1)
	require.Equal(t, 1, refused)
	require.Equal(t, http.StatusOK, ask("/health", one).Response.StatusCode())
	require.Equal(t, http.StatusOK, ask("/describeSessions", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}).Response.StatusCode(), "others are not held back")
}

// Agents behind one address may all come at once; who is refused again and again may not.
func TestThrottledRefusals_CountsOnlyWhoWasRefused(t *testing.T) {
	t.Parallel()
	status, refused := http.StatusOK, 0
	throttle := listen.NewThrottle[netip.Addr](0.25, 2)
	handler := listen.ThrottledRefusals(func(rc *fasthttp.RequestCtx) { rc.SetStatusCode(status) },
		throttle, func(*fasthttp.RequestCtx) { refused++ }, "/agent/ws")
	ask := func(path string, last byte) int {
		var rc fasthttp.RequestCtx
		var request fasthttp.Request
		request.SetRequestURI(path)
		rc.Init(&request, &net.TCPAddr{IP: net.IPv4(192, 0, 2, last), Port: 1}, nil)
		handler(&rc)
		return rc.Response.StatusCode()
	}
	for range 10 {
		require.Equal(t, http.StatusOK, ask("/agent/ws", 1))
	}
	status = http.StatusServiceUnavailable // no fault of theirs
	for range 10 {
		require.Equal(t, http.StatusServiceUnavailable, ask("/agent/ws", 1))
	}
	status = http.StatusUnauthorized
	require.Equal(t, http.StatusUnauthorized, ask("/agent/ws", 1))
	require.Equal(t, http.StatusUnauthorized, ask("/agent/%77s", 1))
	require.Equal(t, http.StatusTooManyRequests, ask("/agent/ws", 1))
	require.Equal(t, 1, refused)
	require.EqualValues(t, 1, throttle.Refused())
	require.Equal(t, http.StatusUnauthorized, ask("/other", 1), "other paths have bounds of their own")
	require.Equal(t, http.StatusUnauthorized, ask("/agent/ws", 2), "others are not held back")
}

// One machine owns all addresses of its /64, so they count as one.
func TestHousehold_CountsTogetherWhatIsOneMachine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		require.Equal(t, want, listen.Household(netip.MustParseAddr(text)).String(), text)
	}
	require.False(t, listen.Household(netip.Addr{}).IsValid())
}

func BenchmarkThrottle(b *testing.B) {
	throttle := listen.NewThrottle[netip.Addr](1e9, 1e9)
	caller := netip.MustParseAddr("192.0.2.1")
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		throttle.Allow(caller, now)
	}
}
