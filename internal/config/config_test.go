package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"opensessionmanager/internal/certs"
)

// write makes a properties file that only this user may read.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broker.properties")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// keyStore writes a key store that opens without a password.
func keyStore(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	ca, err := certs.Ensure(certs.Config{Dir: folder})
	require.NoError(t, err)
	require.NotEmpty(t, ca.Fingerprint())
	return filepath.Join(folder, certs.ServerFile)
}

// A key store is opened before anything is changed: what is wrong is told with its line.
func TestLoad_AKeyStoreThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	own := keyStore(t)
	pair, err := certs.LoadKeyStore(own, "")
	require.NoError(t, err)
	p12, err := pkcs12.Modern.Encode(pair.PrivateKey, pair.Leaf, nil, "the-right-one")
	require.NoError(t, err)
	locked := write(t, string(p12))
	for _, connector := range []string{"broker-to-broker", "client-to-broker-connector", "agent-to-broker-connector"} {
		file, pass := connector+"-key-store-file", connector+"-key-store-pass"
		for name, c := range map[string]struct{ text, want string }{
			"missing file":   {file + " = /nowhere/KeyStore.jks", ":1: " + file + `: cannot use "/nowhere/KeyStore.jks": no such file or directory`},
			"wrong password": {file + " = " + locked + "\n\n" + pass + " = guessed-wrong", ":3: " + pass + ": is not the password of"},
			"no password":    {file + " = " + locked, ":1: " + file + ": cannot use"},
			"not a store":    {file + " = " + write(t, "shopping list"), ":1: " + file + ": cannot use"},
		} {
			t.Run(connector+" "+name, func(t *testing.T) {
				t.Parallel()
				_, _, err := Load(write(t, c.text+"\n"))
				require.ErrorIs(t, err, ErrInvalid)
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "guessed-wrong")
			})
		}
		_, _, err := Load(write(t, file+" = "+locked+"\n"+pass+" = the-right-one\n"))
		require.NoError(t, err)
	}
}

// What no Consul could answer is refused with its line, and without the address, which
// may carry a password by mistake.
func TestLoad_AConsulThatCannotBeReachedIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"consul-address = a:8500, http://me:hush@b:8500":                                  ":1: consul-address: number 2: an address is not host:port",
		"consul-address = ,":                                                              `:1: consul-address: "," names nothing`,
		"consul-address = http://a:99999":                                                 ":1: consul-address: number 1: an address has a port",
		"consul-address = a\nconsul-prefix = /":                                           ":2: consul-prefix: the prefix \"/\" begins with a slash",
		"consul-address = a\nbroker-to-broker-advertised-host = 0.0.0.0":                  `:2: broker-to-broker-advertised-host: "0.0.0.0" leads nobody here`,
		"consul-address = a\nbroker-to-broker-advertised-host = 10.0.0.1:47100":           `:2: broker-to-broker-advertised-host: "10.0.0.1:47100" is neither`,
		"consul-address = a\nbroker-to-broker-port = 8443":                                ":2: broker-to-broker-port: port 8443 is also the one of",
		"consul-address = ftp://consul":                                                   ":1: consul-address: number 1: an address has the scheme",
		"consul-address = a\nconsul-ca-file = /nowhere/ca.pem":                            ":2: consul-ca-file: cannot be used: Error loading CA File",
		"consul-address = a\nconsul-cert-file = /nowhere/c\nconsul-key-file = /nowhere/k": ":2: consul-cert-file: cannot be used",
		"consul-address = a\nconsul-cert-file = /nowhere/c":                               ":2: consul-cert-file: a certificate and its key are given together",
	} {
		_, _, err := Load(write(t, text+"\n"))
		require.ErrorIs(t, err, ErrInvalid, text)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hush")
	}
}

// keyCase is one key: what a file says, where it ends, what it must be there.
type keyCase struct {
	key, text string
	got       func(*Config) any
	want      any
}

// C25: one row per key of contract section 6 and of our own; each value differs
// from the default. A last check makes sure that no key is without a row.
func keyCases(existing string) []keyCase {
	return []keyCase{
		{"session-manager-working-path", "/srv/dcvsm", func(c *Config) any { return c.Storage.WorkingPath }, Path("/srv/dcvsm")},
		{"state-store", "memory", func(c *Config) any { return c.Storage.StateStore }, "memory"},
		{"enable-authorization-server", "false", func(c *Config) any { return c.Authorization.EnableServer }, false},
		{"auth-server-ca-file", existing, func(c *Config) any { return c.Authorization.AuthServerCA }, Path(existing)},
		{"enable-authorization", "FALSE", func(c *Config) any { return c.Authorization.EnableClient }, false},
		{"enable-agent-authorization", "false", func(c *Config) any { return c.Authorization.EnableAgent }, false},
		{"client-to-broker-connector-https-port", "8444", func(c *Config) any { return c.Client.Port }, 8444},
		{"client-to-broker-connector-bind-host", "127.0.0.1", func(c *Config) any { return c.Client.BindHost }, "127.0.0.1"},
		{"client-to-broker-connector-key-store-file", existing, func(c *Config) any { return c.Client.KeyStoreFile }, Path(existing)},
		{"client-to-broker-connector-key-store-pass", "${x}#!=: y", func(c *Config) any { return c.Client.Connector().KeyStorePass }, Secret("${x}#!=: y")},
		{"enable-api-yaml", "true", func(c *Config) any { return c.Client.EnableAPIYAML }, true},
		{"agent-to-broker-connector-https-port", "8450", func(c *Config) any { return c.Agent.Port }, 8450},
		{"agent-to-broker-connector-bind-host", "::", func(c *Config) any { return c.Agent.BindHost }, "::"},
		{"agent-to-broker-connector-key-store-file", existing, func(c *Config) any { return c.Agent.Connector().KeyStoreFile }, Path(existing)},
		{"agent-to-broker-connector-key-store-pass", "pass", func(c *Config) any { return c.Agent.KeyStorePass }, Secret("pass")},
		{"agent-ping-interval-seconds", "7", func(c *Config) any { return c.Agent.PingInterval }, 7 * time.Second},
		{"agent-grace-seconds", "20", func(c *Config) any { return c.Agent.Grace }, 20 * time.Second},
		{"enable-gateway", "true", func(c *Config) any { return c.Gateway.Enable }, true},
		{"gateway-to-broker-connector-https-port", "8446", func(c *Config) any { return c.Gateway.Port }, 8446},
		{"gateway-to-broker-connector-bind-host", "10.0.0.1", func(c *Config) any { return c.Gateway.BindHost }, "10.0.0.1"},
		{"gateway-to-broker-connector-key-store-file", "/k", func(c *Config) any { return c.Gateway.KeyStoreFile }, Path("/k")},
		{"gateway-to-broker-connector-key-store-pass", "p", func(c *Config) any { return c.Gateway.KeyStorePass }, Secret("p")},
		{"enable-tls-client-auth-gateway", "true", func(c *Config) any { return c.Gateway.EnableClientAuth }, true},
		{"gateway-to-broker-connector-trust-store-file", "/t", func(c *Config) any { return c.Gateway.TrustStoreFile }, Path("/t")},
		{"gateway-to-broker-connector-trust-store-pass", "p", func(c *Config) any { return c.Gateway.TrustStorePass }, Secret("p")},
		{"cli-to-broker-port", "47201", func(c *Config) any { return c.Admin.Port }, 47201},
		{"delete-session-duration-seconds", "0", func(c *Config) any { return c.Sessions.KeepDeleted }, time.Duration(0)},
		{"delete-session-duration-hours", "2", func(c *Config) any { return c.Sessions.KeepDeleted }, 2 * time.Hour},
		{"session-creation-timeout-seconds", "60", func(c *Config) any { return c.Sessions.CreationTimeout }, time.Minute},
		{"session-deletion-timeout-seconds", "61", func(c *Config) any { return c.Sessions.DeletionTimeout }, 61 * time.Second},
		{"connect-session-token-duration-minutes", "1440", func(c *Config) any { return c.Sessions.TokenDuration }, 24 * time.Hour},
		{"seconds-before-deleting-unreachable-dcv-server", "900", func(c *Config) any { return c.Sessions.DropServersAfter }, 15 * time.Minute},
		{"seconds-before-deleting-sessions-unreachable-server", "900", func(c *Config) any { return c.Sessions.DropSessionsAfter }, 15 * time.Minute},
		{"create-sessions-queue-max-size", "5", func(c *Config) any { return c.Queue.MaxSize }, 5},
		{"create-sessions-queue-max-time-seconds", "60", func(c *Config) any { return c.Queue.MaxTime }, time.Minute},
		{"create-sessions-number-of-retries-on-failure", "0", func(c *Config) any { return c.Queue.MaxRetries }, 0},
		{"session-screenshot-max-width", "600", func(c *Config) any { return c.Screenshots.MaxWidth }, 600},
		{"session-screenshot-max-height", "800", func(c *Config) any { return c.Screenshots.MaxHeight }, 800},
		{"session-screenshot-format", "JPEG", func(c *Config) any { return c.Screenshots.Format }, "jpeg"},
		{"autorun-file-arguments-max-size", "3", func(c *Config) any { return c.Autorun.MaxArguments }, 3},
		{"autorun-file-arguments-max-argument-length", "20", func(c *Config) any { return c.Autorun.MaxArgumentLength }, 20},
		{"max-api-requests-per-second", "50", func(c *Config) any { return c.Throttling.RequestsPerSecond }, 50},
		{"enable-throttling-forward-header", "true", func(c *Config) any { return c.Throttling.ForwardHeader }, true},
		{"trusted-proxies", "10.0.0.7, 10.1.0.0/16,", func(c *Config) any { return c.Proxies.Trusted }, []string{"10.0.0.7", "10.1.0.0/16"}},
		{"certificate-names", "dcv.example.com, 10.0.0.10", func(c *Config) any { return c.Proxies.Names }, []string{"dcv.example.com", "10.0.0.10"}},
		{"proxy-protocol", "both", func(c *Config) any { return c.Proxies.Protocol }, "both"},
		{"log-level", "debug", func(c *Config) any { return c.Logging.Level }, "debug"},
		{"log-directory", "/var/log/x", func(c *Config) any { return c.Logging.Directory }, Path("/var/log/x")},
		{"log-rotation", "hourly", func(c *Config) any { return c.Logging.Rotation }, "hourly"},
		{"log-max-file-size-mb", "100", func(c *Config) any { return c.Logging.MaxFileSize }, 100},
		{"log-files-kept", "3", func(c *Config) any { return c.Logging.KeepFiles }, 3},
		{"metrics-port", "9464", func(c *Config) any { return c.Prometheus.Port }, 9464},
		{"metrics-bind-host", "10.0.0.1", func(c *Config) any { return c.Prometheus.BindHost }, "10.0.0.1"},
		{"audit-log-directory", "/var/log/audit", func(c *Config) any { return c.Logging.AuditDirectory }, Path("/var/log/audit")},
		{"audit-log-rotation", "never", func(c *Config) any { return c.Logging.AuditRotation }, "never"},
		{"audit-log-max-file-size-mb", "7", func(c *Config) any { return c.Logging.AuditMaxFileSize }, 7},
		{"audit-log-files-kept", "4", func(c *Config) any { return c.Logging.AuditKeepFiles }, 4},
		{"broker-to-broker-port", "47101", func(c *Config) any { return c.Fleet.Port }, 47101},
		{"consul-address", "https://consul.example:8501, 10.0.0.2:8501", func(c *Config) any { return c.Consul.Addresses }, []string{"https://consul.example:8501", "10.0.0.2:8501"}},
		{"consul-token", "t", func(c *Config) any { return c.Consul.Token }, Secret("t")},
		{"consul-ca-file", "/ca", func(c *Config) any { return c.Consul.CAFile }, Path("/ca")},
		{"consul-cert-file", "", func(c *Config) any { return c.Consul.CertFile }, Path("")},
		{"consul-key-file", "", func(c *Config) any { return c.Consul.KeyFile }, Path("")},
		{"consul-tls-server-name", "server.dc1.consul", func(c *Config) any { return c.Consul.ServerName }, "server.dc1.consul"},
		{"consul-prefix", "a/", func(c *Config) any { return c.Consul.Prefix }, "a/"},
		{"broker-to-broker-advertised-host", "b1.example", func(c *Config) any { return c.Fleet.Advertise }, "b1.example"},
		{"broker-to-broker-bind-host", "10.0.0.1", func(c *Config) any { return c.Fleet.BindHost }, "10.0.0.1"},
		{"broker-to-broker-discovery-port", "47501", func(c *Config) any { return c.Fleet.DiscoveryPort }, 47501},
		{"broker-to-broker-discovery-addresses", "127.0.0.1:47500", func(c *Config) any { return c.Fleet.Addresses }, []string{"127.0.0.1:47500"}},
		{"broker-to-broker-discovery-multicast-group", "", func(c *Config) any { return c.Fleet.MulticastGroup }, ""},
		{"broker-to-broker-discovery-multicast-port", "47401", func(c *Config) any { return c.Fleet.MulticastPort }, 47401},
		{"broker-to-broker-discovery-aws-region", "eu-west-1", func(c *Config) any { return c.Fleet.AWSRegion }, "eu-west-1"},
		{"broker-to-broker-discovery-aws-alb-target-group-arn", "", func(c *Config) any { return c.Fleet.AWSTargetGroupARN }, ""},
		{"broker-to-broker-key-store-file", existing, func(c *Config) any { return c.Fleet.KeyStoreFile }, Path(existing)},
		{"broker-to-broker-key-store-pass", "p", func(c *Config) any { return c.Fleet.KeyStorePass }, Secret("p")},
		{"enable-persistence", "false", func(c *Config) any { return c.Persistence.Enable }, false},
		{"persistence-db", "dynamodb", func(c *Config) any { return c.Persistence.Database }, "dynamodb"},
		{"dynamodb-region", "us-east-1", func(c *Config) any { return c.Persistence.DynamoDBRegion }, "us-east-1"},
		{"dynamodb-table-rcu", "5", func(c *Config) any { return c.Persistence.DynamoDBRCU }, 5},
		{"dynamodb-table-wcu", "6", func(c *Config) any { return c.Persistence.DynamoDBWCU }, 6},
		{"dynamodb-table-name-prefix", "a.b.", func(c *Config) any { return c.Persistence.DynamoDBPrefix }, "a.b."},
		{"jdbc-connection-url", "jdbc:mysql://h:3306/d?a=b", func(c *Config) any { return c.Persistence.JDBCURL }, "jdbc:mysql://h:3306/d?a=b"},
		{"jdbc-user", "u", func(c *Config) any { return c.Persistence.JDBCUser }, "u"},
		{"jdbc-password", "p", func(c *Config) any { return c.Persistence.JDBCPassword }, Secret("p")},
		{"enable-cloud-watch-metrics", "true", func(c *Config) any { return c.Metrics.EnableCloudWatch }, true},
		{"cloud-watch-region", "us-east-1", func(c *Config) any { return c.Metrics.Region }, "us-east-1"},
		{"metrics-fleet-name-dimension", "blue", func(c *Config) any { return c.Metrics.FleetName }, "blue"},
		{"broker-java-home", "/usr/lib/jvm/11", func(c *Config) any { return c.Vendor.JavaHome }, "/usr/lib/jvm/11"},
		{"broker-to-broker-distributed-memory-max-size-mb", "512", func(c *Config) any { return c.Vendor.MemoryMaxSize }, "512"},
		{"broker-to-broker-connection-login", "u", func(c *Config) any { return c.Vendor.ConnectionLogin }, "u"},
		{"broker-to-broker-connection-pass", "p", func(c *Config) any { return c.Vendor.ConnectionPass }, Secret("p")},
	}
}

func TestLoad_EachKeyReachesItsField(t *testing.T) {
	t.Parallel()
	existing := keyStore(t)
	cases := keyCases(existing)
	covered := map[string]bool{}
	for _, c := range cases {
		covered[c.key] = true
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := Load(write(t, c.key+" = "+c.text+"\n"))
			require.NoError(t, err)
			require.Equal(t, c.want, c.got(cfg))
			if c.text != "" && c.text != "false" && c.text != "127.0.0.1:47500" {
				require.NotEqual(t, c.got(Default()), c.got(cfg), "the row must not use the default")
			}
		})
	}
	for _, o := range newLoader("").options {
		require.True(t, covered[o.key], "key %s has no row", o.key)
	}
}

func TestDefault_HasTheDocumentedValues(t *testing.T) {
	t.Parallel()
	c := Default()
	require.Equal(t, []int{8443, 8445, 8447, 47200, 47100, 47500}, []int{c.Client.Port, c.Agent.Port, c.Gateway.Port, c.Admin.Port, c.Fleet.Port, c.Fleet.DiscoveryPort})
	require.True(t, c.Authorization.EnableServer && c.Authorization.EnableClient && c.Authorization.EnableAgent)
	require.Equal(t, time.Hour, c.Sessions.KeepDeleted)
	require.Zero(t, c.Sessions.DropSessionsAfter, "off unless set")
	require.Equal(t, "embedded", c.Storage.StateStore)
	require.NotEmpty(t, c.Storage.WorkingPath)
	require.Empty(t, c.File)
}

func TestTags_AreComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, o := range newLoader("").options {
		require.NotEmpty(t, o.key)
		require.False(t, seen[o.key], "key %s twice", o.key)
		seen[o.key] = true
		require.NotEmpty(t, o.doc, o.key)
		require.NotEmpty(t, o.group, o.key)
		require.Contains(t, []string{"", statusIgnored, statusDeprecated, statusLater}, o.status, o.key)
		if o.field.CanInt() {
			require.Less(t, o.min, o.max, "key %s needs a range", o.key)
		}
	}
}
