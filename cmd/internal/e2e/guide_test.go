//go:build fleet

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// guideText is deploy/README.md, of which tests execute the blocks that have a name: a
// comment `<!-- run: NAME -->` on the line before the block.
type guideText struct {
	t    *testing.T
	text string
}

func guide(t *testing.T) guideText {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(project, "deploy", "README.md"))
	require.NoError(t, err)
	return guideText{t, string(data)}
}

// project is the folder of the whole.
var project = filepath.Join("..", "..", "..")

var named = regexp.MustCompile("(?s)<!-- run: ([^\n]*) -->\n```[a-z]*\n(.*?)```")

// block is the content of a named block.
func (g guideText) block(name string) string {
	g.t.Helper()
	for _, found := range named.FindAllStringSubmatch(g.text, -1) {
		if found[1] == name {
			return found[2]
		}
	}
	g.t.Fatalf("deploy/README.md has no block %q", name)
	return ""
}

// names are those of all blocks.
func (g guideText) names() (all []string) {
	for _, found := range named.FindAllStringSubmatch(g.text, -1) {
		all = append(all, found[1])
	}
	return all
}

// premises are where an operator works: folders that stand for the roots of several hosts, and
// programs in place of those that would change this machine.
type premises struct {
	t         *testing.T
	guide     guideText
	dir       string // holds a folder for each host, bin with the programs, and checkout
	env       []string
	replace   []string // pairs; what is different here, besides paths
	ran       map[string]bool
	systemctl func(host string, args []string) // what the operator asks of systemd
}

// stand-ins: ssh and scp reach the folder of another host; systemd is asked in
// premises.run, and the broker's commands find its configuration where it was put.
var standIns = map[string]string{
	"useradd": "exit 0",
	"chown":   "exit 0",
	"apt-get": `mkdir -p "$ROOT/etc/haproxy"`,
	"install": `for a; do shift; case "$a" in -o|-g) skip=1;; *) [ -n "$skip" ] && skip= || set -- "$@" "$a";; esac; done; exec /usr/bin/install "$@"`,
	"ssh":     `host=${1#root@}; shift; exec sh -e -c "$(printf '%s ' "$@" | sed "s#$ROOT#$HOSTS/$host#g")"`,
	"scp": `for a; do shift; case "$a" in root@*) h=${a#root@}; h=${h%%:*}; a=$HOSTS/$h${a#*:$ROOT};; esac; set -- "$@" "$a"; done
exec cp "$@"`,
	"dcv-session-manager-broker": `exec "$ROOT/usr/bin/dcv-session-manager-broker" --config "$ROOT/etc/dcv-session-manager-broker/session-manager-broker.properties" "$@"`,
}

func newPremises(t *testing.T, hosts ...string) *premises {
	t.Helper()
	p := &premises{t: t, guide: guide(t), dir: t.TempDir(), ran: map[string]bool{}}
	for _, host := range hosts {
		for _, folder := range []string{"etc/systemd/system", "usr/bin", "var/lib", "work"} {
			require.NoError(t, os.MkdirAll(p.path(host, folder), 0o700))
		}
	}
	require.NoError(t, os.Mkdir(filepath.Join(p.dir, "bin"), 0o700))
	for name, script := range standIns {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "bin", name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	p.checkOut()
	return p
}

// checkOut is what the operator has of the project after `make build`.
func (p *premises) checkOut() {
	p.t.Helper()
	checkout, err := filepath.Abs(project)
	require.NoError(p.t, err)
	own := filepath.Join(p.dir, "checkout")
	require.NoError(p.t, os.MkdirAll(filepath.Join(own, "bin"), 0o700))
	require.NoError(p.t, os.Mkdir(filepath.Join(own, "deploy"), 0o700))
	for _, name := range []string{brokerProgram, clientProgram} {
		require.NoError(p.t, os.Symlink(program(p.t, name), filepath.Join(own, "bin", name)))
	}
	for _, name := range []string{"systemd", "session-manager-broker.properties"} {
		require.NoError(p.t, os.Symlink(filepath.Join(checkout, "deploy", name), filepath.Join(own, "deploy", name)))
	}
	require.NoError(p.t, os.Symlink(filepath.Join(checkout, "bin", "consul"), filepath.Join(p.dir, "bin", "consul")))
}

func (p *premises) path(host string, parts ...string) string {
	return filepath.Join(append([]string{p.dir, "hosts", host}, parts...)...)
}

// run executes a block on a host, line by line what is systemd's and the rest by a shell,
// and returns what it printed.
func (p *premises) run(host, name string) (printed string) {
	p.t.Helper()
	p.ran[name] = true
	var script []string
	flush := func() {
		if len(script) > 0 {
			printed += p.shell(host, strings.Join(script, "\n"))
		}
		script = nil
	}
	for line := range strings.Lines(p.guide.block(name)) {
		line = strings.TrimSuffix(line, "\n")
		if args, ok := strings.CutPrefix(line, "systemctl "); ok {
			flush()
			p.systemctl(host, strings.Fields(args))
			continue
		}
		script = append(script, line)
	}
	flush()
	return printed
}

func (p *premises) shell(host, script string) string {
	p.t.Helper()
	script = p.here(host, script)
	cmd := exec.CommandContext(p.t.Context(), "sh", "-e", "-c", script)
	cmd.Dir = filepath.Join(p.dir, "checkout")
	cmd.Env = append(os.Environ(), append(p.env, "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"),
		"ROOT="+p.path(host), "HOSTS="+p.path(""))...)
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, "on %s:\n%s\n%s", host, script, out)
	return string(out)
}

// here is a text with what differs on these premises.
func (p *premises) here(host, text string) string {
	text = strings.NewReplacer(p.replace...).Replace(text)
	for _, folder := range []string{"/etc/", "/usr/bin/", "/var/lib/"} {
		text = strings.ReplaceAll(text, folder, p.path(host, folder)+"/")
	}
	return text
}

// settle is a broker that runs with the file the operator wrote, and lines for what this
// machine has only one of.
func (p *premises) settle(host string) *broker {
	p.t.Helper()
	b := newBroker(p.t)
	require.NoError(p.t, os.Symlink(p.path(host, "var", "lib", "dcvsmbroker"), filepath.Join(b.dir, "work")))
	b.file = p.path(host, "etc", "dcv-session-manager-broker", "session-manager-broker.properties")
	file, err := os.OpenFile(b.file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(p.t, err)
	_, err = fmt.Fprintf(file, `
session-manager-working-path = %s
client-to-broker-connector-https-port = %d
client-to-broker-connector-bind-host = 127.0.0.1
agent-to-broker-connector-https-port = %d
agent-to-broker-connector-bind-host = 127.0.0.1
cli-to-broker-port = %d
broker-to-broker-port = %d
broker-to-broker-bind-host = 127.0.0.1
`, p.path(host, "var", "lib", "dcvsmbroker"), b.clientPort, b.agentPort, b.adminPort, freePort(p.t))
	require.NoError(p.t, err)
	require.NoError(p.t, file.Close())
	return b
}
