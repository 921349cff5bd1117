//go:build fleet

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/persistence/consul/consultest"
)

// network is a switch with cables to network namespaces, one for each broker and one for
// Consul. This machine is at the switch too: clients have its address, and each agent one
// of its own. What the field does to networks is done by packet filters.
type network struct {
	t        *testing.T
	id       string // of this network among all on the machine
	subnet   string // the first three bytes of its addresses
	sites    map[string]*site
	rules    map[rule]int // percent of the packets that are lost
	announce *site        // where Consul runs
}

// rule says that packets of one address to another are lost on their way. One of the
// two is a site's.
type rule struct{ from, to string }

// networks counts those of this run.
var networks atomic.Int32

// freeSubnet is the third byte of the addresses of a new network. The process id keeps
// runs at the same time apart.
func freeSubnet(t *testing.T) int {
	t.Helper()
	used, err := exec.Command("ip", "-o", "addr", "show").CombinedOutput()
	require.NoError(t, err, "%s", used)
	for number := (os.Getpid()*8 + int(networks.Add(1))) % 250; ; number = (number + 1) % 250 {
		if !strings.Contains(string(used), fmt.Sprintf(" 10.217.%d.", number)) {
			return number
		}
	}
}

const (
	homeHost    = 1 // this machine's clients
	consulHost  = 2
	firstBroker = 11
	firstAgent  = 101
	everything  = 100
)

// newNetwork needs root and two programs; without them the story is not told.
func newNetwork(t *testing.T, agents int) *network {
	t.Helper()
	for _, name := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("NOT TESTED: network faults need the program %s (apt packages iproute2 and nftables)", name)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: network faults need root, to make network namespaces")
	}
	number := freeSubnet(t)
	n := &network{t: t, id: fmt.Sprintf("f%d-%d", os.Getpid()%100000, number), subnet: fmt.Sprintf("10.217.%d", number),
		sites: map[string]*site{}, rules: map[rule]int{}}
	n.makeSwitch()
	for i := range agents {
		n.run("ip", "addr", "add", n.agent(i)+"/24", "dev", n.id+"h")
	}
	n.announce = n.newSite("c", consulHost)
	return n
}

// makeSwitch puts the bridge into a namespace of its own, where no rules of this machine
// apply, and leads a cable from there to this machine.
func (n *network) makeSwitch() {
	hub := n.id + "s"
	n.run("ip", "netns", "add", hub)
	n.t.Cleanup(func() { n.try("ip", "netns", "del", hub) })
	n.run("ip", "-n", hub, "link", "add", "name", "br0", "type", "bridge")
	n.run("ip", "-n", hub, "link", "set", "dev", "br0", "up")
	n.run("ip", "link", "add", n.id+"h", "type", "veth", "peer", "name", "home", "netns", hub)
	n.t.Cleanup(func() { n.try("ip", "link", "del", n.id+"h") })
	n.run("ip", "-n", hub, "link", "set", "dev", "home", "master", "br0", "up")
	n.run("ip", "addr", "add", n.home()+"/24", "dev", n.id+"h")
	n.run("ip", "link", "set", n.id+"h", "up")
}

func (n *network) newSite(name string, host int) *site {
	s := &site{namespace: n.id + name, address: fmt.Sprintf("%s.%d", n.subnet, host)}
	n.run("ip", "netns", "add", s.namespace)
	n.t.Cleanup(func() { n.try("ip", "netns", "del", s.namespace) })
	n.run("ip", "-n", n.id+"s", "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", s.namespace)
	n.run("ip", "-n", n.id+"s", "link", "set", "dev", name, "master", "br0", "up")
	n.run("ip", "-n", s.namespace, "addr", "add", s.address+"/24", "dev", "eth0")
	n.run("ip", "-n", s.namespace, "link", "set", "eth0", "up")
	n.run("ip", "-n", s.namespace, "link", "set", "lo", "up")
	n.sites[s.address] = s
	return s
}

func (n *network) run(name string, args ...string) {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(n.t, err, "%s %v: %s", name, args, out)
}

// try is run for what may be gone already.
func (n *network) try(name string, args ...string) { _ = exec.Command(name, args...).Run() }

// home is the address of the clients, agent that of a host's agent.
func (n *network) home() string       { return fmt.Sprintf("%s.%d", n.subnet, homeHost) }
func (n *network) agent(i int) string { return fmt.Sprintf("%s.%d", n.subnet, firstAgent+i) }

// consul says how Consul runs in this network; nil is this machine.
func (n *network) consul() consultest.Options {
	if n == nil {
		return consultest.Options{}
	}
	argv := n.announce.inside("")
	return consultest.Options{Host: n.announce.address, Wrapper: argv[:len(argv)-1]}
}

// brokerSite is a new place for a broker.
func (n *network) brokerSite(i int) *site {
	if n == nil {
		return nil
	}
	return n.newSite(fmt.Sprintf("b%d", i), firstBroker+i)
}

// agentDialer connects from the address of an agent.
func (n *network) agentDialer(i int) func(ctx context.Context, network, address string) (net.Conn, error) {
	if n == nil {
		return nil
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(n.agent(i))}, Timeout: 10 * time.Second}
	return dialer.DialContext
}

// loseOneWay loses packets from some addresses to others.
func (n *network) loseOneWay(percent int, from, to []string) {
	n.t.Helper()
	var lines []rule
	for _, f := range from {
		for _, t := range to {
			if f != t {
				lines = append(lines, rule{f, t})
			}
		}
	}
	n.lose(percent, lines)
}

// lose loses packets of some lines, at once.
func (n *network) lose(percent int, lines []rule) {
	n.t.Helper()
	changed := map[*site]bool{}
	for _, r := range lines {
		n.rules[r] = percent
		changed[cmp.Or(n.sites[r.to], n.sites[r.from])] = true
	}
	n.apply(changed)
}

// cut loses all packets between two groups, both ways.
func (n *network) cut(some, others []string) {
	n.t.Helper()
	n.loseOneWay(everything, some, others)
	n.loseOneWay(everything, others, some)
}

// heal loses nothing any more.
func (n *network) heal() {
	n.t.Helper()
	clear(n.rules)
	changed := map[*site]bool{}
	for _, s := range n.sites {
		changed[s] = true
	}
	n.apply(changed)
}

// apply writes the rules of sites anew, each in one transaction.
func (n *network) apply(sites map[*site]bool) {
	n.t.Helper()
	for s := range sites {
		var text strings.Builder
		text.WriteString("flush ruleset\ntable inet faults {\n")
		for _, chain := range []string{"input", "output"} {
			fmt.Fprintf(&text, "chain %s { type filter hook %s priority 0;\n", chain, chain)
			for _, r := range slices.SortedFunc(maps.Keys(n.rules), func(a, b rule) int { return cmp.Compare(a.from+a.to, b.from+b.to) }) {
				if at := cmp.Or(n.sites[r.to], n.sites[r.from]); at != s || (n.sites[r.to] == s) != (chain == "input") {
					continue
				}
				share := ""
				if n.rules[r] < everything {
					share = fmt.Sprintf("numgen random mod 100 < %d ", n.rules[r])
				}
				fmt.Fprintf(&text, "ip saddr %s ip daddr %s %sdrop\n", r.from, r.to, share)
			}
			text.WriteString("}\n")
		}
		text.WriteString("}\n")
		cmd := exec.Command("ip", "netns", "exec", s.namespace, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text.String())
		out, err := cmd.CombinedOutput()
		require.NoError(n.t, err, "%s\n%s", text.String(), out)
	}
}

// addresses of brokers.
func addresses(brokers ...*broker) (all []string) {
	for _, b := range brokers {
		all = append(all, b.site.host())
	}
	return all
}
