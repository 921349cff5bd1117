package metrics_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/metrics"
)

func ask(m *metrics.Metrics, method, path string) (int, string) {
	var rc fasthttp.RequestCtx
	rc.Request.Header.SetMethod(method)
	rc.Request.SetRequestURI(path)
	m.Handler()(&rc)
	return rc.Response.StatusCode(), string(rc.Response.Body())
}

func TestMetrics_AreReadAtEachScrape(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3", slog.New(slog.DiscardHandler))
	value := 1.0
	m.Gauge("switch_enabled", "Help.", func() float64 { return value }, "key", "enable-authorization")
	m.Counter("refused_total", "Help.", func() float64 { return 7 })
	_, body := ask(m, "GET", "/metrics")
	require.Contains(t, body, "# TYPE dcvsm_broker_switch_enabled gauge\ndcvsm_broker_switch_enabled{key=\"enable-authorization\"} 1\n")
	require.Contains(t, body, "# TYPE dcvsm_broker_refused_total counter\ndcvsm_broker_refused_total 7\n")
	require.Contains(t, body, `dcvsm_broker_build_info{version="1.2.3"} 1`)
	require.Contains(t, body, "go_goroutines ")
	value = 0
	_, body = ask(m, "GET", "/metrics")
	require.Contains(t, body, "dcvsm_broker_switch_enabled{key=\"enable-authorization\"} 0\n")
}

func TestMetrics_NothingElseIsThere(t *testing.T) {
	t.Parallel()
	m := metrics.New("", slog.New(slog.DiscardHandler))
	for _, c := range [][2]string{{"GET", "/"}, {"POST", "/metrics"}, {"GET", "/metrics/x"}, {"GET", "/debug/pprof/"}} {
		status, _ := ask(m, c[0], c[1])
		require.Equal(t, 404, status, "%v", c)
	}
	require.Panics(t, func() {
		m.Gauge("a", "", func() float64 { return 0 })
		m.Gauge("a", "", func() float64 { return 0 })
	})
}
