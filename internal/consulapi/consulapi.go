// Package consulapi is the way into a Consul cluster: the addresses of its agents, how
// they prove who they are, and which of them answered last. What is asked there is the
// business of its users, the record store and the membership.
package consulapi

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// DefaultAddress is the agent of this machine.
const DefaultAddress = "127.0.0.1:8500"

// Access says where a Consul cluster is and how to get in.
type Access struct {
	// Addresses of agents of one cluster: host:port, http://host:port or
	// https://host:port. Default DefaultAddress.
	Addresses []string
	Token     string // ACL token; "": what CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE say, else none
	TLS       TLS    // how to verify an https agent; setting any makes https the default scheme
}

// TLS names PEM files. Without CAFile the system's authorities are trusted.
type TLS struct {
	CAFile     string
	CertFile   string // of this client, with KeyFile, if Consul asks for one
	KeyFile    string
	ServerName string // expected in the certificate instead of the address's host
}

// Config loads the files.
func (t TLS) Config() (*tls.Config, error) {
	return api.SetupTLSConfig(&api.TLSConfig{Address: t.ServerName, CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile})
}

// Agents are clients of the agents of one cluster. Which one to ask first is remembered
// for all callers. Methods may be called concurrently.
type Agents struct {
	clients   []*api.Client
	transport *http.Transport
	first     atomic.Int64
}

// Connect makes the clients; it asks nobody. All use the transport, which must be one of
// NewTransport, with the TLS of the access, through around.
func Connect(access Access, transport *http.Transport, around func(http.RoundTripper) http.RoundTripper) (*Agents, error) {
	if err := access.TLS.follow(transport); err != nil {
		return nil, err
	}
	a := &Agents{transport: transport}
	addresses := access.Addresses
	if len(addresses) == 0 {
		addresses = []string{DefaultAddress}
	}
	for _, address := range addresses {
		where, err := ParseAddress(address, access.TLS != TLS{})
		if err != nil {
			return nil, err
		}
		// The token is in the client and so in every call, those that wait included.
		client, err := api.NewClient(&api.Config{Address: where.Host, Scheme: where.Scheme, Token: access.Token,
			HttpClient: &http.Client{Transport: around(transport), CheckRedirect: noRedirect}})
		if err != nil {
			return nil, err
		}
		a.clients = append(a.clients, client)
	}
	return a, nil
}

// NewTransport bounds connecting and the handshake, each. It uses no proxy: Consul is
// in the broker's own network.
func NewTransport(dial time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dial, KeepAlive: 15 * time.Second}
	return &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: dial, IdleConnTimeout: time.Minute}
}

// noRedirect: Consul redirects no call of ours, and the token goes nowhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Len is how many agents there are.
func (a *Agents) Len() int { return len(a.clients) }

// Client is the client of agent n, counted round.
func (a *Agents) Client(n int) *api.Client { return a.clients[n%len(a.clients)] }

// First is the agent to ask first: the one that answered last.
func (a *Agents) First() int { return int(a.first.Load()) }

// Answered makes an agent the one to ask first.
func (a *Agents) Answered(n int) { a.first.Store(int64(n % len(a.clients))) }

// Failed makes the one after n the first, unless somebody else has changed that: the
// next call does not begin with an agent that is, perhaps, dead.
func (a *Agents) Failed(n int) {
	n %= len(a.clients)
	a.first.CompareAndSwap(int64(n), int64((n+1)%len(a.clients)))
}

// Close gives back idle connections.
func (a *Agents) Close() { a.transport.CloseIdleConnections() }

// ParseAddress reads the address of an agent. It does not repeat it in its errors: one
// that cannot be read might carry a password.
func ParseAddress(address string, secure bool) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		address = scheme + address
	}
	where, err := url.Parse(address)
	if err != nil || where.Host == "" || where.User != nil || strings.Trim(where.Path, "/") != "" ||
		where.RawQuery != "" || where.Fragment != "" {
		return nil, errors.New("an address is not host:port, http://host:port or https://host:port")
	}
	if port, err := strconv.ParseUint(cmp.Or(where.Port(), "1"), 10, 16); err != nil || port == 0 {
		return nil, errors.New("an address has a port that is not from 1 to 65535")
	}
	if where.Scheme != "http" && where.Scheme != "https" {
		return nil, fmt.Errorf("an address has the scheme %q, which is neither http nor https", where.Scheme)
	}
	if where.Port() == "" {
		where.Host = net.JoinHostPort(where.Hostname(), map[string]string{"http": "8500", "https": "8501"}[where.Scheme])
	}
	return where, nil
}

// maxPrefix bounds a prefix in bytes.
const maxPrefix = 200

// CheckPrefix admits what is safe in a key and in the path of a URL. A slash at the end
// may be missing.
func CheckPrefix(prefix string) error {
	if len(prefix) > maxPrefix {
		return fmt.Errorf("a prefix of %d bytes, at most %d", len(prefix), maxPrefix)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(prefix, "/"), "/") {
		if part == "" || strings.Trim(part, ".") == "" {
			return fmt.Errorf("the prefix %q begins with a slash or has an empty or dotted part", prefix)
		}
		for _, b := range []byte(part) {
			if !Plain(b) {
				return fmt.Errorf("the prefix %q may hold letters, digits and -_./ only", prefix)
			}
		}
	}
	return nil
}

// Plain says that a byte needs no escape in a part of a key.
func Plain(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '-' || b == '_' || b == '.'
}
