package node

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// metrics-port and metrics-bind-host; a protection that is off can be seen from outside.
func TestNode_ShowsFiguresWhereItIsToldTo(t *testing.T) {
	dir := t.TempDir()
	opt := options(t, dir)
	opt.Config.Prometheus.Port, opt.Config.Prometheus.BindHost = freePort(t), "127.0.0.1"
	opt.Config.Authorization.EnableAgent = false
	n := start(t, opt)
	a, err := get(t, dir, n.scrapes.Addr().String(), "/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status)
	for _, line := range []string{
		`dcvsm_broker_switch_enabled{key="enable-agent-authorization"} 0`,
		`dcvsm_broker_switch_enabled{key="enable-authorization"} 1`,
		`dcvsm_broker_switch_enabled{key="enable-authorization-server"} 1`,
		"dcvsm_broker_ready 1", "dcvsm_broker_sessions 0", "dcvsm_broker_fleet_members 1",
		`dcvsm_broker_connections{port="client"} 0`, "dcvsm_broker_certificate_expiry_timestamp_seconds 1.",
	} {
		require.Contains(t, a.body, line)
	}
	require.Nil(t, start(t, options(t, t.TempDir())).scrapes, "there is no port unless asked for")
}

// freePort is one that was free a moment ago: 0 means no port here.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}
