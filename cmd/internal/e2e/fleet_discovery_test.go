//go:build fleet

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/agent"
)

// startCircle runs n brokers that find each other without Consul and keep their records
// together.
func startCircle(t *testing.T, n, hosts int, meet func(i int) []string) *fleet {
	t.Helper()
	return startFleetOn(t, terrain{agents: quick, limits: agent.Limits{MaxVirtual: -1, MaxPerUser: -1, MaxConsole: 1},
		settings: []string{"agent-ping-interval-seconds = 1"}, meet: meet}, hosts, slices.Repeat([]string{brokerProgram}, n)...)
}

// byAddresses has all brokers know the discovery ports of all.
func byAddresses(t *testing.T, n int) func(int) []string {
	t.Helper()
	var ports []int
	var all []string
	for range n {
		ports = append(ports, freePort(t))
		all = append(all, fmt.Sprintf("127.0.0.1:%d", ports[len(ports)-1]))
	}
	return func(i int) []string {
		return []string{"broker-to-broker-discovery-addresses = " + strings.Join(all, ","),
			fmt.Sprintf("broker-to-broker-discovery-port = %d", ports[i])}
	}
}

// byMulticast has brokers announce themselves on an interface of this machine.
func byMulticast(t *testing.T) func(int) []string {
	t.Helper()
	host := multicastHost()
	if host == "" {
		t.Skip("NO MULTICAST: no interface of this machine takes it, so the story is not told")
	}
	port := freePort(t)
	return func(int) []string {
		return []string{"broker-to-broker-discovery-multicast-group = 239.255.77.9", fmt.Sprintf("broker-to-broker-discovery-multicast-port = %d", port),
			fmt.Sprintf("broker-to-broker-discovery-port = %d", freePort(t)), "broker-to-broker-bind-host = " + host}
	}
}

func multicastHost() string {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagMulticast != 0 {
				return n.IP.String()
			}
		}
	}
	return ""
}

// byTargetGroup has brokers, each with an address of its own, ask an AWS that stands in
// for the real one: two are registered by address, others by instance.
func byTargetGroup(t *testing.T) func(int) []string {
	t.Helper()
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "text/xml")
		if r.Form.Get("Action") == "DescribeTargetHealth" {
			fmt.Fprint(w, `<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions>`)
			for _, id := range []string{"127.0.1.1", "127.0.1.2", "i-3"} {
				fmt.Fprintf(w, `<member><TargetHealth><State>unhealthy</State></TargetHealth><Target><Id>%s</Id><Port>8443</Port></Target></member>`, id)
			}
			fmt.Fprint(w, `</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`)
			return
		}
		fmt.Fprint(w, `<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-3</instanceId><privateIpAddress>127.0.1.3</privateIpAddress></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`)
	}))
	t.Cleanup(aws.Close)
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y",
		"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2": aws.URL, "AWS_ENDPOINT_URL_EC2": aws.URL} {
		t.Setenv(k, v)
	}
	port := freePort(t)
	return func(i int) []string {
		return []string{"broker-to-broker-discovery-aws-region = eu-west-1",
			"broker-to-broker-discovery-aws-alb-target-group-arn = arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/brokers/73e2d6bc24d8a067",
			fmt.Sprintf("broker-to-broker-discovery-port = %d", port), fmt.Sprintf("broker-to-broker-bind-host = 127.0.1.%d", i+1)}
	}
}

// Brokers that know each other's addresses: one dies under load and comes back, then the
// one that leads, and in the end all; nothing that was answered is lost.
func TestFleet_WithoutConsulByAddresses(t *testing.T) {
	f := startCircle(t, 3, 6, byAddresses(t, 3))
	f.survives(f.brokers[2], f.brokers[0])
}

// The same by multicast.
func TestFleet_WithoutConsulByMulticast(t *testing.T) {
	f := startCircle(t, 3, 6, byMulticast(t))
	f.survives(f.brokers[0])
}

// The same by the target group of a load balancer.
func TestFleet_WithoutConsulByTargetGroup(t *testing.T) {
	f := startCircle(t, 3, 6, byTargetGroup(t))
	f.survives(f.brokers[1])
}

// survives kills some brokers under load, one after the other, each of which comes back,
// and then all at once.
func (f *fleet) survives(victims ...*broker) {
	t := f.t
	t.Helper()
	load := f.load(4)
	load.awaitAccepted(60)
	for _, victim := range victims {
		died := time.Now()
		victim.proc.kill()
		load.setDown(true, victim)
		f.awaitRehomed(victim, died)
		load.awaitAccepted(60)
		load.report(died)
		victim.start()
		t.Logf("back after %v", time.Since(died).Round(time.Millisecond))
		load.setDown(false, victim)
		load.awaitAccepted(30)
	}
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	for _, b := range f.brokers {
		b.proc.kill()
	}
	for _, b := range f.brokers {
		b.start()
	}
	load.check(f.brokers...)
	require.NotContains(t, f.logs(), "panic")
}

// A rolling restart of brokers without Consul, under load.
func TestFleet_WithoutConsulThroughARollingRestart(t *testing.T) {
	f := startCircle(t, 3, 6, byAddresses(t, 3))
	load := f.load(4)
	load.awaitAccepted(40)
	began := time.Now()
	for _, b := range f.brokers {
		require.Zero(t, b.proc.stop())
		load.awaitAccepted(20)
		b.start()
		load.awaitAccepted(20)
	}
	load.report(began)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
}

// A paused broker is in the minority: what it meant to write is not taken, and when it
// wakes up it joins again.
func TestFleet_WithoutConsulWhileABrokerIsPaused(t *testing.T) {
	f := startCircle(t, 3, 6, byAddresses(t, 3))
	load := f.load(4)
	load.awaitAccepted(40)
	paused := f.brokers[0] // it leads
	load.setDown(true, paused)
	began := time.Now()
	paused.freeze()
	defer paused.thaw()
	wait(t, 10*time.Second)
	load.report(began)
	paused.thaw()
	await(t, "the paused broker to be back", paused.healthy)
	load.setDown(false, paused)
	load.awaitAccepted(40)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
}
