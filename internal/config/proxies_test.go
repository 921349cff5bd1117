package config

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProxies_NetworksOfAddressesAndNetworks(t *testing.T) {
	t.Parallel()
	p := Proxies{Trusted: []string{"10.0.0.7", "10.1.2.3/16", "::1", "::ffff:10.0.0.9"}}
	require.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.0.0.9/32"),
	}, p.Networks())
}

func TestProxies_ProtocolOnPorts(t *testing.T) {
	t.Parallel()
	for word, want := range map[string][2]bool{"off": {}, "client": {true, false}, "agent": {false, true}, "both": {true, true}} {
		p := Proxies{Protocol: word}
		require.Equal(t, want, [2]bool{p.OnClient(), p.OnAgent()}, word)
	}
	require.False(t, Default().Proxies.OnClient(), "never by default")
	require.False(t, Default().Proxies.OnAgent(), "never by default")
}
