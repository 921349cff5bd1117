package node

import (
	"context"

	"opensessionmanager/http/listen"
	"opensessionmanager/http/metrics"
	"opensessionmanager/internal/config"
	"opensessionmanager/internal/version"
)

// showMetrics opens the port for Prometheus, if it is wanted. It answers before the broker
// is ready, for that is a figure too.
func (n *Node) showMetrics(context.Context) (err error) {
	cfg := n.opt.Config
	if cfg.Prometheus.Port == 0 {
		return nil
	}
	connector := config.Connector{Port: cfg.Prometheus.Port, BindHost: cfg.Prometheus.BindHost,
		KeyStoreFile: cfg.Client.KeyStoreFile, KeyStorePass: cfg.Client.KeyStorePass}
	n.scrapes, err = n.port("metrics", connector, n.metrics().Handler(), limits{header: 8 << 10, body: 1 << 10, conns: 64})
	return err
}

func (n *Node) metrics() *metrics.Metrics {
	m, cfg := metrics.New(version.String(), n.log), n.opt.Config
	for key, on := range map[string]bool{
		"enable-authorization":        cfg.Authorization.EnableClient,
		"enable-authorization-server": cfg.Authorization.EnableServer,
		"enable-agent-authorization":  cfg.Authorization.EnableAgent,
	} {
		m.Gauge("switch_enabled", "1 if this protection is on, 0 if the configuration gives it up.", figure(on), "key", key)
	}
	m.Gauge("ready", "1 if the broker serves requests.", func() float64 { ready, _ := n.health(); return figure(ready)() })
	for name, port := range map[string]*listen.Server{"client": n.client, "agent": n.agent, "admin": n.admin} {
		m.Gauge("connections", "Open connections.", func() float64 { return float64(port.Stats().Open) }, "port", name)
		m.Counter("connections_refused_total", "Connections closed because there were too many.", func() float64 { return float64(port.Stats().Refused) }, "port", name)
		m.Counter("accept_errors_total", "Connections that could not be accepted.", func() float64 { return float64(port.Stats().AcceptErrors) }, "port", name)
	}
	m.Gauge("agents", "Agents connected to this broker.", func() float64 { return float64(n.agents.Load().Count()) })
	m.Gauge("sessions", "Sessions that this broker knows, deleted ones included.", n.roster(func(s counts) int { return s.CountSessions() }))
	m.Gauge("servers", "DCV servers that this broker knows.", n.roster(func(s counts) int { return s.CountServers() }))
	m.Gauge("fleet_members", "Brokers in the fleet, as this one sees it.", func() float64 { return float64(len(n.fleet.View().Members)) })
	m.Gauge("fleet_epoch", "Number of the view of the fleet.", func() float64 { return float64(n.fleet.View().Epoch) })
	m.Counter("throttled_total", "Requests answered 429 because their caller made too many.", func() float64 { return float64(n.throttle.Refused() + n.sockets.Refused()) })
	m.Counter("audit_lines_dropped_total", "Lines that the audit trail lost because they could not be written.", func() float64 { return float64(n.auditLog.Dropped()) })
	m.Gauge("certificate_expiry_timestamp_seconds", "When the broker's own certificate ends.", func() float64 { return float64(n.identity.NotAfter().Unix()) })
	return m
}

func figure(on bool) func() float64 {
	return func() float64 {
		if on {
			return 1
		}
		return 0
	}
}

// counts is what figures read of a picture of the fleet.
type counts interface {
	CountSessions() int
	CountServers() int
}

// roster reads a figure from the newest picture; before there is one it is 0.
func (n *Node) roster(read func(counts) int) func() float64 {
	return func() float64 {
		if n.api.Load() == nil {
			return 0
		}
		return float64(read(n.deps.Roster.Snapshot()))
	}
}
