package node

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/config"
	"opensessionmanager/persistence/consul/consultest"
)

// consulName is the one name in the certificate of the test's Consul.
const consulName = "server.dc1.consul"

// guarded is a Consul that wants to be addressed by TLS, to see a certificate and a
// token, and the configuration that satisfies it.
func guarded(t *testing.T) (config.Consul, *api.Client) {
	t.Helper()
	const token = "7a1ab0f4-9a4c-4f0e-8a6e-2f2f3c0c7d20"
	folder := t.TempDir()
	ca, err := certs.Ensure(certs.Config{Dir: folder})
	require.NoError(t, err)
	pair := func(name string, names ...string) (cert, key string) {
		c, err := ca.Issue(names, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
		require.NoError(t, err)
		secret, chain, err := certs.EncodePEM(c)
		require.NoError(t, err)
		cert, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+"_key.pem")
		require.NoError(t, os.WriteFile(cert, chain, 0o600))
		require.NoError(t, os.WriteFile(key, secret, 0o600))
		return cert, key
	}
	authority := filepath.Join(folder, certs.CAFile)
	cert, key := pair("consul", consulName, "127.0.0.1")
	own, ownKey := pair("broker", "broker.example")
	server := consultest.Start(t, consultest.Options{Token: token, CAFile: authority, CertFile: cert, KeyFile: key, VerifyClients: true})
	client, err := api.NewClient(&api.Config{Address: server.Address(), Scheme: "https", Token: token, TLSConfig: api.TLSConfig{CAFile: authority, CertFile: own, KeyFile: ownKey}})
	require.NoError(t, err)
	return config.Consul{Addresses: []string{server.Address()}, Token: config.Secret(token), CAFile: config.Path(authority),
		CertFile: config.Path(own), KeyFile: config.Path(ownKey)}, client
}

func withConsul(t *testing.T, c config.Consul) Options {
	t.Helper()
	opt := options(t, t.TempDir())
	opt.Config.Consul = c
	opt.Config.Storage.StateStore = "consul"
	opt.Config.Fleet.BindHost, opt.Config.Fleet.Port = "127.0.0.1", 0
	return opt
}

// C25: each key about Consul has its effect, on the records and on the membership.
func TestConsul_EachKeyCounts(t *testing.T) {
	t.Parallel()
	good, client := guarded(t)
	var fleets atomic.Int64
	for name, c := range map[string]struct {
		change func(*config.Consul)
		works  bool
	}{
		"all as it should be":      {func(*config.Consul) {}, true},
		"consul-address: https":    {func(c *config.Consul) { c.Addresses[0] = "https://" + c.Addresses[0] }, true},
		"consul-address: several":  {func(c *config.Consul) { c.Addresses = []string{"127.0.0.1:1", c.Addresses[0]} }, true},
		"consul-address: wrong":    {func(c *config.Consul) { c.Addresses = []string{"127.0.0.1:1"} }, false},
		"consul-address: http":     {func(c *config.Consul) { c.Addresses[0] = "http://" + c.Addresses[0] }, false},
		"consul-token":             {func(c *config.Consul) { c.Token = "" }, false},
		"consul-ca-file":           {func(c *config.Consul) { c.CAFile = "" }, false},
		"consul-cert-file and key": {func(c *config.Consul) { c.CertFile, c.KeyFile = "", "" }, false},
		"consul-tls-server-name":   {func(c *config.Consul) { c.ServerName = consulName }, true},
		"another server name":      {func(c *config.Consul) { c.ServerName = "other.dc1.consul" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with := good
			with.Addresses = append([]string{}, good.Addresses...)
			with.Prefix = fmt.Sprintf("fleet-%d/", fleets.Add(1))
			c.change(&with)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			if !c.works {
				ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
			}
			n, err := Start(ctx, withConsul(t, with))
			if !c.works {
				require.Error(t, err)
				require.NotContains(t, err.Error(), string(good.Token))
				return
			}
			require.NoError(t, err)
			keys, _, err := client.KV().Keys(with.Prefix, "", nil)
			require.NoError(t, err)
			require.Contains(t, keys, with.Prefix+"fleet/view", "consul-prefix: of the membership")
			require.Contains(t, keys, with.Prefix+"generation", "and of the records")
			stop(t, n)
		})
	}
}
