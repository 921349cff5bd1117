package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// run runs a broker that is expected to end by itself.
func (b *broker) run(args ...string) outcome {
	b.t.Helper()
	return command(b.t, brokerProgram, append([]string{"--config", b.file}, args...)...)
}

// A broker that is configured wrongly does not start: exit code 1, and a message with file,
// line, key and cure (F48). --check-config says the same without starting.
func TestMisconfigured_TheBrokerSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line string
		want []string
	}{
		"no number":      {"cli-to-broker-port = many", []string{"cli-to-broker-port", "many"}},
		"out of range":   {"agent-ping-interval-seconds = 0", []string{"agent-ping-interval-seconds", "1 to 300"}},
		"no truth":       {"enable-authorization = maybe", []string{"enable-authorization", "true or false"}},
		"no such format": {"session-screenshot-format = gif", []string{"session-screenshot-format", "png or jpeg"}},
		"database":       {"enable-persistence = true", []string{"enable-persistence", "not supported by this version"}},
		"a lone address": {"broker-to-broker-discovery-addresses = 10.0.0.1", []string{"broker-to-broker-discovery-addresses", "10.0.0.1:47500,10.0.0.2:47500"}},
		"two ways": {"broker-to-broker-discovery-addresses = 10.0.0.1:47500,10.0.0.2:47500\nbroker-to-broker-discovery-multicast-group = 239.255.0.1",
			[]string{"broker-to-broker-discovery-multicast-group", "one way only", "keep one of the two lines"}},
		"absent key store":  {"client-to-broker-connector-key-store-file = /nowhere/KeyStore.jks", []string{"client-to-broker-connector-key-store-file", "no such file"}},
		"control character": {"client-to-broker-connector-bind-host = a\x1b[31m b", []string{"client-to-broker-connector-bind-host"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, c.line)
			text, err := os.ReadFile(b.file)
			require.NoError(t, err)
			line := fmt.Sprintf("%s:%d", filepath.Base(b.file), strings.Count(string(text), "\n"))
			for _, args := range [][]string{nil, {"--check-config"}} {
				o := b.run(args...)
				require.Equal(t, 1, o.code, "%s%s", o.stdout, o.stderr)
				for _, want := range append(c.want, line) {
					require.Contains(t, o.stderr, want)
				}
				require.NotContains(t, o.stderr, "\x1b")
				require.NoDirExists(t, filepath.Join(b.dir, "work"), "it left nothing behind")
			}
		})
	}
}

func TestMisconfigured_AnUnknownKeyIsAWarningWithTheNearestOne(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "delete-session-duration-second = 5")
	o := b.run("--check-config")
	require.Zero(t, o.code, o.stderr)
	require.Contains(t, o.stdout, "delete-session-duration-seconds")
	b.start()
	require.Contains(t, b.log.String(), "did you mean delete-session-duration-seconds")
}

func TestMisconfigured_AFileThatOthersMayWriteIsRefused(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	require.NoError(t, os.Chmod(b.file, 0o666))
	o := b.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "chmod")
	require.NoError(t, os.Remove(b.file))
	o = b.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "no such file")
}

// A second broker on the same working path would be a second truth.
func TestMisconfigured_TwoBrokersOnOneWorkingPath(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	second := newBroker(t, "session-manager-working-path = "+filepath.Join(b.dir, "work"))
	o := second.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "in use by another process")
	require.Contains(t, o.stderr, "broker.db")
	require.NoError(t, b.healthy(), "the first does not notice")
	require.Contains(t, b.admin("describe-api-clients"), "portal", "and is still found by its admin commands")
}

func TestMisconfigured_APortThatIsTaken(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"client-to-broker-connector-https-port", "agent-to-broker-connector-https-port", "cli-to-broker-port"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		_, port, err := net.SplitHostPort(listener.Addr().String())
		require.NoError(t, err)
		b := newBroker(t, key+" = "+port)
		o := b.run()
		require.Equal(t, 1, o.code, key)
		last := lastLine(o.stderr)
		require.Contains(t, last, "error: ")
		require.Contains(t, last, port)
		require.Contains(t, last, "address already in use")
		require.Equal(t, 1, b.run("describe-api-clients").code, "nothing of it is left running")
	}
	o := newBroker(t, "cli-to-broker-port = "+strconv.Itoa(70000)).run()
	require.Equal(t, 1, o.code)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// A working path that cannot be written, a damaged store: said, not survived.
func TestMisconfigured_AWorkingPathThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "work"), []byte("a file"), 0o600))
	o := b.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "work: not a directory")

	damaged := newBroker(t)
	require.NoError(t, os.MkdirAll(filepath.Join(damaged.dir, "work"), 0o700))
	file := filepath.Join(damaged.dir, "work", "broker.db")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("no database ", 10_000)), 0o600))
	o = damaged.run()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "broker.db is damaged")
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(kept), "no database"), "it is left for the operator to look at")
}

func TestMisconfigured_AdminCommandsWithoutABroker(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	o := b.run("describe-api-clients")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "not running")
	require.Equal(t, 2, b.run("describe-api-cliens").code)
	require.Equal(t, 2, b.run("--no-such-option").code)
	b.start()
	require.Equal(t, "Api clients\n[ ]\n", b.admin("describe-api-clients"))
	b.proc.kill()
	o = b.run("describe-api-clients")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "not running", "the note of a killed broker misleads nobody")
}
