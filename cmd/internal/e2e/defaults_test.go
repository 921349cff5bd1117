package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// C20: nothing that is secret is the same in two brokers that were just started.
func TestDefaults_NoTwoBrokersShareASecret(t *testing.T) {
	t.Parallel()
	a, b := startBroker(t), startBroker(t)
	require.NotEqual(t, a.newStatement(), b.newStatement())
	require.NotEqual(t, a.enrolmentToken(), b.enrolmentToken())
	require.NotEqual(t, a.api.id, b.api.id)
	require.NotEqual(t, a.api.password, b.api.password)
	for _, name := range []string{"admin-credential", "security/dcvsmbroker_ca_key.pem", "security/dcvsmbroker_ca.pem", "security/dcvsmbroker_server.pem"} {
		ours, err := os.ReadFile(filepath.Join(a.dir, "work", name))
		require.NoError(t, err)
		theirs, err := os.ReadFile(filepath.Join(b.dir, "work", name))
		require.NoError(t, err)
		require.NotEmpty(t, ours)
		require.NotEqual(t, string(ours), string(theirs), name)
	}
	status, _ := b.knows(a.api).tokenStatus()
	require.Equal(t, 401, status, "a client of one is unknown to the other")
}

// knows is a client that shows its credentials to this broker.
func (b *broker) knows(c *client) *client {
	other := b.stranger()
	other.id, other.password = c.id, c.password
	return other
}

// secretKeys are lines of a configuration that set something secret; keyWithBody is a
// private key itself, not only the words around one.
var (
	secretKeys  = regexp.MustCompile(`(?im)^[ \t]*[a-z-]*(pass|password|secret|credential|token|keystore-pass)[ \t]*[=:][ \t]*(\S+)`)
	keyWithBody = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}`)
	// vendors are secrets that others have shipped for everybody.
	vendors = regexp.MustCompile(`dcvsm-pass|dcvsm1\b|changeit`)
)

// C20: no file that is shipped, and no program, has a secret in it that works somewhere.
func TestDefaults_NothingShippedHoldsASecret(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		requireNoSecret(t, path, data)
		return nil
	}))
	sample := command(t, brokerProgram, "config", "sample")
	require.Zero(t, sample.code)
	requireNoSecret(t, "config sample", []byte(sample.stdout))
	for _, found := range secretKeys.FindAllStringSubmatch(sample.stdout, -1) {
		t.Errorf("the sample sets %s", found[0])
	}
	for _, name := range []string{brokerProgram, agentProgram, hostProgram, clientProgram} {
		data, err := os.ReadFile(program(t, name))
		require.NoError(t, err)
		requireNoSecret(t, name, data)
	}
}

func requireNoSecret(t *testing.T, where string, data []byte) {
	t.Helper()
	require.False(t, keyWithBody.Match(data), "%s holds a private key", where)
	if found := vendors.Find(data); found != nil {
		at := bytes.Index(data, found)
		t.Errorf("%s holds %q: %q", where, found, strings.ToValidUTF8(string(data[max(0, at-40):min(len(data), at+40)]), "?"))
	}
}
