// Package metrics shows the broker's figures to Prometheus. Whoever has a figure gives a
// function that reads it; nothing is counted twice and nothing runs between two scrapes.
package metrics

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"opensessionmanager/http/listen"
)

// Path is where the figures are.
const Path = "/metrics"

// prefix begins every name of ours.
const prefix = "dcvsm_broker_"

// maxScrapes bounds scrapes at the same time.
const maxScrapes = 4

// Metrics are the figures of one broker.
type Metrics struct {
	registry *prometheus.Registry
	logger   *slog.Logger
}

// New begins with the figures of the process and of Go's runtime.
func New(version string, logger *slog.Logger) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), logger: logger}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Gauge("build_info", "Always 1; the label is the version.", func() float64 { return 1 }, "version", version)
	return m
}

// Gauge shows what may rise and fall. labels are names and values in turn. read is called
// at each scrape and must be quick. It panics if the figure is there already: that is a
// mistake of the program.
func (m *Metrics) Gauge(name, help string, read func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + name, Help: help, ConstLabels: pairs(labels)}, read))
}

// Counter shows what only rises until the broker starts again; its name ends in _total.
func (m *Metrics) Counter(name, help string, read func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: prefix + name, Help: help, ConstLabels: pairs(labels)}, read))
}

func pairs(labels []string) prometheus.Labels {
	all := prometheus.Labels{}
	for i := 0; i < len(labels); i += 2 {
		all[labels[i]] = labels[i+1]
	}
	return all
}

// Handler answers GET /metrics; everything else is 404.
func (m *Metrics) Handler() fasthttp.RequestHandler {
	scrape := fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: failures{m.logger}, MaxRequestsInFlight: maxScrapes, DisableCompression: true}))
	return func(rc *fasthttp.RequestCtx) {
		if string(rc.Path()) != Path || !rc.IsGet() && !rc.IsHead() {
			listen.Fail(rc, fasthttp.StatusNotFound, "PATH_NOT_FOUND", "Only GET "+Path+" is here")
			return
		}
		scrape(rc)
	}
}

type failures struct{ logger *slog.Logger }

// Println implements promhttp.Logger.
func (f failures) Println(v ...any) {
	f.logger.Error("figures could not be shown", slog.Any("error", v))
}
