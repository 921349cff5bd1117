package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// fleetHosts is how many hosts are simulated.
const fleetHosts = 6

const (
	consulProgram   = "consul"
	balancerProgram = "haproxy"
	balancerFile    = "haproxy/passthrough.cfg"
	balancerSource  = "127.0.0.9" // so that the brokers can tell HAProxy from others on this machine
)

// fleet is the stage with several brokers on it.
type fleet struct {
	*stage
	members  []*member
	places   places
	consul   *process
	balancer *process
	stream   *stream
}

// places are the ports of Consul.
type places struct{ consul, consulServer, consulGossip int }

// member is one of the brokers.
type member struct {
	name, config, work string
	ports              ports
	peer               int // port for the other brokers
	proc               *process
	api                *api // of this broker, past the balancer
}

func (f *fleet) perform(ctx context.Context) error {
	for _, missing := range []error{f.hasConsul(), f.hasBalancer()} {
		if missing != nil {
			return missing
		}
	}
	f.hosts, f.every = nil, 5 // seldom: each report runs a program, on the one machine there is
	for i := range fleetHosts {
		f.hosts = append(f.hosts, host{name: fmt.Sprintf("host-%d", i+1), tags: map[string]string{"team": "design"}, most: -1})
	}
	defer func() {
		if f.stream != nil {
			f.stream.stop()
		}
	}()
	return f.stage.perform(ctx, performance{
		headline: "Open Session Manager: three brokers as one, and what happens when one of them dies",
		steps:    f.steps(),
		closing: []string{
			"You saw  brokers that are all equal, clients and agents that know only a load balancer, a broker",
			"         that died in the middle of its work and was not missed, and a fleet without its Consul.",
			"Next     make demo-fleet DEMO_KEEP=1   leaves all this running",
			"         deploy/README.md              three brokers behind HAProxy on real machines",
			"         make fleet                    many more such stories, told as tests",
		},
	})
}

func (f *fleet) steps() []step {
	steps := []step{
		{"Start Consul, where the brokers of a fleet meet", f.startConsul},
		{"Start three brokers that know nothing but Consul", f.startBrokers},
		{"Put HAProxy in front of them, with the file from deploy", f.startBalancer},
		{"Register a client at one broker, for all of them", f.registerClient},
		{"Start six simulated hosts, whose agents know only the balancer", f.startHosts},
		{"Create a session on each host, and look at them at each broker", f.createSessions},
		{"Kill a broker in the middle of a stream of requests", f.killBroker},
		{"Start it again", f.restartBroker},
		{"Kill Consul, and start it again", f.killConsul},
	}
	if f.keep {
		return append(steps, step{"Everything keeps running: your turn", f.playground})
	}
	return append(steps, step{"Delete the sessions", f.deleteSessions})
}

func (f *fleet) hasConsul() error {
	if _, err := os.Stat(f.program(consulProgram)); err != nil {
		return fmt.Errorf("Consul is missing in %s\nmake tools builds it, once: five minutes of a processor.", f.bin)
	}
	return nil
}

func (f *fleet) hasBalancer() error {
	if _, err := exec.LookPath(balancerProgram); err != nil {
		return errors.New("HAProxy is missing\napt-get install haproxy (or what your system has instead); it is to be in the PATH.")
	}
	if _, err := os.Stat(filepath.Join(f.deploy, balancerFile)); err != nil {
		return fmt.Errorf("the balancer's configuration is missing\n%w", err)
	}
	return nil
}

func (f *fleet) startConsul(ctx context.Context) (string, error) {
	found, err := unusedPorts(3)
	if err != nil {
		return "", err
	}
	f.places = places{consul: found[0], consulServer: found[1], consulGossip: found[2]}
	err = f.write("consul.json", fmt.Sprintf(`{"ports": {"http": %d}, "disable_update_check": true,`, f.places.consul),
		// All brokers come from one address here.
		`"performance": {"raft_multiplier": 1}, "limits": {"http_max_conns_per_client": 1000}}`)
	if err != nil {
		return "", err
	}
	f.command(f.program(consulProgram) + " agent -server -bootstrap-expect=1 -data-dir=" + f.path("consul") + " ...")
	if err := f.runConsul(); err != nil {
		return "", err
	}
	return "Consul has a leader, and its API is http://" + local(f.places.consul), f.awaitConsul(ctx)
}

func (f *fleet) runConsul() (err error) {
	f.consul, err = f.procs.start("consul", f.program(consulProgram),
		"agent", "-server", "-bootstrap-expect=1", "-data-dir="+f.path("consul"), "-config-file="+f.path("consul.json"),
		"-bind=127.0.0.1", "-client=127.0.0.1", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-serf-wan-port=-1",
		"-server-port="+strconv.Itoa(f.places.consulServer), "-serf-lan-port="+strconv.Itoa(f.places.consulGossip), "-log-level=warn")
	return err
}

func (f *fleet) awaitConsul(ctx context.Context) error {
	return f.await(ctx, "Consul", func(ctx context.Context) error {
		leader, err := runs(ctx, f.program(consulProgram), "kv", "get", "-http-addr="+local(f.places.consul), "-recurse", "nothing")
		if err != nil {
			return fmt.Errorf("%w %s", err, leader)
		}
		return nil
	})
}

// startBrokers gives all brokers the CA that the first one made.
func (f *fleet) startBrokers(ctx context.Context) (string, error) {
	for i := range 3 {
		m := &member{name: fmt.Sprintf("broker-%d", i+1)}
		m.config, m.work = m.name+".properties", m.name
		f.members = append(f.members, m)
		if err := f.configure(m); err != nil {
			return "", err
		}
		if i > 0 {
			f.command("cp "+f.path(f.members[0].work, "security", "dcvsmbroker_ca*.pem"), f.path(m.work, "security"))
			if err := f.copyCA(m); err != nil {
				return "", err
			}
		}
		f.command(f.program(brokerProgram) + " --config " + f.path(m.config))
		if err := f.runMember(m); err != nil {
			return "", err
		}
		if err := f.awaitMember(ctx, m); err != nil {
			return "", err
		}
	}
	return "three brokers; each knows the others from Consul, and trusts them by the CA they share", nil
}

func (f *fleet) configure(m *member) error {
	found, err := unusedPorts(4)
	if err != nil {
		return err
	}
	m.ports, m.peer = ports{client: found[0], agent: found[1], admin: found[2]}, found[3]
	return f.write(m.config,
		"consul-address = http://"+local(f.places.consul),
		"broker-to-broker-port = "+strconv.Itoa(m.peer),
		"broker-to-broker-bind-host = 127.0.0.1",
		"# HAProxy says who calls",
		"trusted-proxies = "+balancerSource,
		"proxy-protocol = both",
		"# and this machine stands for many",
		"session-manager-working-path = "+m.work,
		"client-to-broker-connector-bind-host = 127.0.0.1",
		"agent-to-broker-connector-bind-host = 127.0.0.1",
		"client-to-broker-connector-https-port = "+strconv.Itoa(m.ports.client),
		"agent-to-broker-connector-https-port = "+strconv.Itoa(m.ports.agent),
		"cli-to-broker-port = "+strconv.Itoa(m.ports.admin))
}

func (f *fleet) copyCA(m *member) error {
	for _, name := range []string{"dcvsmbroker_ca.pem", "dcvsmbroker_ca_key.pem"} {
		pem, err := os.ReadFile(f.path(f.members[0].work, "security", name))
		if err != nil {
			return err
		}
		if err := f.write(filepath.Join(m.work, "security", name), strings.TrimSpace(string(pem))); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) runMember(m *member) (err error) {
	m.proc, err = f.procs.start(m.name, f.program(brokerProgram), "--config", f.path(m.config))
	return err
}

func (f *fleet) awaitMember(ctx context.Context, m *member) error {
	return f.await(ctx, m.name, func(ctx context.Context) (err error) {
		if m.api == nil {
			m.api, err = newAPI("https://"+local(m.ports.client), f.path(f.members[0].work, "security", "dcvsmbroker_ca.pem"))
			if err != nil {
				return err
			}
		}
		return m.api.health(ctx)
	})
}

// startBalancer is from where on the stage knows the balancer only.
func (f *fleet) startBalancer(ctx context.Context) (string, error) {
	var err error
	if f.ports, err = freePorts(); err != nil {
		return "", err
	}
	f.config, f.work = f.members[0].config, f.members[0].work
	text, err := f.balancerConfig()
	if err != nil {
		return "", err
	}
	if err := f.write("haproxy.cfg", text); err != nil {
		return "", err
	}
	f.command("haproxy -db -f "+f.path("haproxy.cfg"), "# "+filepath.Join(f.deploy, balancerFile)+" with the ports of this machine")
	if f.balancer, err = f.procs.start("haproxy", balancerProgram, "-db", "-f", f.path("haproxy.cfg")); err != nil {
		return "", err
	}
	return fmt.Sprintf("https://%s for clients and %s for agents, whichever broker answers",
		local(f.ports.client), local(f.ports.agent)), f.awaitBroker(ctx)
}

// balancerConfig is the file that an operator gets, with other addresses.
func (f *fleet) balancerConfig() (string, error) {
	data, err := os.ReadFile(filepath.Join(f.deploy, balancerFile))
	if err != nil {
		return "", err
	}
	pairs := []string{
		"bind :8443", "bind " + local(f.ports.client), "bind :8445", "bind " + local(f.ports.agent),
		"/etc/haproxy/dcvsmbroker_ca.pem", f.path(f.work, "security", "dcvsmbroker_ca.pem"),
	}
	for i, m := range f.members {
		address := fmt.Sprintf("10.0.0.1%d:", i+1)
		pairs = append(pairs, address+"8443", local(m.ports.client)+" source "+balancerSource,
			address+"8445", local(m.ports.agent)+" source "+balancerSource)
	}
	return strings.NewReplacer(pairs...).Replace(string(data)), nil
}
