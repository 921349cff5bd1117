package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func TestHealthy_ByTheBrokersOwnCheckAndThatOfItsAgent(t *testing.T) {
	t.Parallel()
	r := &registry{service: "broker"}
	own := func(status string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: "service:broker-a", Status: status, Output: "TTL expired"}
	}
	other := func(id, status string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: id, Status: status, Node: "n", Output: "Agent not live"}
	}
	for name, c := range map[string]struct {
		checks api.HealthChecks
		want   string // "": healthy
	}{
		"all pass":                        {api.HealthChecks{other("serfHealth", "passing"), own("passing")}, ""},
		"a node without an agent":         {api.HealthChecks{own("passing")}, ""},
		"others fail":                     {api.HealthChecks{own("passing"), other("disk", "critical"), other("_node_maintenance", "critical")}, ""},
		"its beats stopped":               {api.HealthChecks{other("serfHealth", "passing"), own("critical")}, "TTL expired"},
		"somebody set it to warning":      {api.HealthChecks{own("warning")}, "is warning"},
		"its agent is gone":               {api.HealthChecks{own("passing"), other("serfHealth", "critical")}, `check serfHealth of node "n" is critical`},
		"another one's check passes":      {api.HealthChecks{nil, other("service:broker-b", "passing")}, "no check"},
		"its agent is gone, listed first": {api.HealthChecks{other("serfHealth", "critical"), own("passing")}, "check serfHealth"},
	} {
		if c.want == "" {
			require.Empty(t, r.failing("a", c.checks), name)
		} else {
			require.Contains(t, r.failing("a", c.checks), c.want, name)
		}
	}
}
