package dcv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/ini.v1"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

const (
	defaultPort   = 8443 // contract section 11
	mostEndpoints = 32
	mostConfig    = 1 << 20
)

// Server implements driver.Driver. The description is renewed every few minutes;
// an older one is better than none.
func (d *Driver) Server(ctx context.Context) (*driver.Server, error) {
	d.mu.Lock()
	defer d.mu.Unlock() // one look at a time; it is bounded by ctx
	if d.server != nil && time.Since(d.checked) < serverFresh {
		return d.server, nil
	}
	version, err := d.version(ctx)
	if err != nil && d.server != nil {
		d.checked = time.Now().Add(serverRetry - serverFresh)
		return d.server, nil
	}
	if err != nil {
		return nil, err
	}
	fresh := &driver.Server{Version: version, Endpoints: d.endpoints(ctx)}
	fresh.WebURLPath = webPath(fresh.Endpoints)
	d.checked = time.Now()
	if d.server == nil || !sameServer(d.server, fresh) {
		d.server = fresh
	}
	return d.server, nil
}

func sameServer(a, b *driver.Server) bool {
	return a.Version == b.Version && a.WebURLPath == b.WebURLPath &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y *messages.Endpoint) bool {
			return x.GetIpAddress() == y.GetIpAddress() && x.GetPort() == y.GetPort() &&
				x.GetProtocol() == y.GetProtocol() && x.GetWebUrlPath() == y.GetWebUrlPath()
		})
}

// "Amazon DCV 2024.0 (r18131)" is 2024.0.18131 in the client API (contract 1.2).
var versionText = regexp.MustCompile(`(\d{4}\.\d{1,3})(?:\.(\d{1,8})|[- ]*\(?r?(\d{1,8})\)?)?`)

func (d *Driver) version(ctx context.Context) (string, error) {
	out, err := d.run(ctx, mostText, "version")
	if err != nil {
		return "", err
	}
	return parseVersion(out), nil
}

func parseVersion(output []byte) string {
	m := versionText.FindSubmatch(output)
	if m == nil {
		return ""
	}
	if revision := string(m[2]) + string(m[3]); revision != "" {
		return string(m[1]) + "." + revision
	}
	return string(m[1])
}

func webPath(endpoints []*messages.Endpoint) string {
	for _, e := range endpoints {
		if e.GetWebUrlPath() != "" {
			return e.GetWebUrlPath()
		}
	}
	return "/"
}

// endpoints asks dcv and else reads its configuration.
func (d *Driver) endpoints(ctx context.Context) []*messages.Endpoint {
	out, err := d.run(ctx, mostListing, "list-endpoints", "-j")
	if err == nil {
		var listed []*messages.Endpoint
		if listed, err = parseEndpoints(out); err == nil && len(listed) > 0 {
			return listed
		}
	}
	d.cfg.Logger.Debug("dcv does not list its endpoints, reading its configuration", "error", err)
	return d.configured()
}

// parseEndpoints reads what list-endpoints prints. Its form is not documented:
// keys are taken by meaning, and listeners that make no sense are left out.
func parseEndpoints(output []byte) ([]*messages.Endpoint, error) {
	output = bytes.TrimSpace(output)
	if len(output) == 0 {
		return nil, fmt.Errorf("%w: nothing printed", errUnreadable)
	}
	objects, err := items(output, "endpoints", mostEndpoints)
	if err != nil {
		return nil, err
	}
	var endpoints []*messages.Endpoint
	for _, object := range objects {
		var fields map[string]text
		if err := json.Unmarshal(object, &fields); err != nil {
			continue
		}
		if e := endpoint(fields); e != nil {
			endpoints = append(endpoints, e)
		}
	}
	return endpoints, nil
}

func endpoint(fields map[string]text) *messages.Endpoint {
	first := func(names ...string) string {
		for _, n := range names {
			if v := fields[n]; v != "" {
				return string(v)
			}
		}
		return ""
	}
	address, port := splitEndpoint(first("ip-address", "ip_address", "address", "host", "endpoint", "web-endpoint"))
	if n := text(first("port", "web-port", "quic-port")).number(); n > 0 {
		port = n
	}
	protocol := "HTTP"
	if strings.Contains(strings.ToUpper(first("protocol", "transport", "type")), "QUIC") {
		protocol = "QUIC"
	}
	if port < 1 || port > 65535 {
		return nil
	}
	e := &messages.Endpoint{IpAddress: address, Port: port, Protocol: protocol}
	if protocol == "HTTP" {
		e.WebUrlPath = webURLPath(first("web-url-path", "web_url_path", "url-path"))
	}
	return e
}

// splitEndpoint reads "address", "address:port" or "[address]:port". An address
// that means every address, and one that is none, is "".
func splitEndpoint(s string) (address string, port int32) {
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		both, err := netip.ParseAddrPort(s)
		if err != nil {
			return "", 0
		}
		ip, port = both.Addr(), int32(both.Port())
	}
	if ip.IsUnspecified() {
		return "", port
	}
	return ip.String(), port
}

func webURLPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#\\ ") {
		return "/"
	}
	return path
}

// configured reads the listeners from dcv.conf (contract section 11).
func (d *Driver) configured() []*messages.Endpoint {
	content, err := os.ReadFile(d.cfg.ServerConfig)
	if err != nil || len(content) > mostConfig {
		content = nil
	}
	return parseServerConfig(content)
}

func parseServerConfig(content []byte) []*messages.Endpoint {
	value := func(string) string { return "" }
	file, err := ini.LoadSources(ini.LoadOptions{SkipUnrecognizableLines: true, AllowBooleanKeys: true}, content)
	if err == nil {
		section := file.Section("connectivity")
		value = func(key string) string { return strings.Trim(section.Key(key).Value(), `"' `) }
	}
	path := webURLPath(value("web-url-path"))
	web := listeners(value("web-listen-endpoints"), value("web-port"))
	var endpoints []*messages.Endpoint
	for _, e := range web {
		e.Protocol, e.WebUrlPath = "HTTP", path
		endpoints = append(endpoints, e)
	}
	if enabled, _ := strconv.ParseBool(value("enable-quic-frontend")); enabled {
		for _, e := range listeners(value("quic-listen-endpoints"), value("quic-port")) {
			e.Protocol = "QUIC"
			endpoints = append(endpoints, e)
		}
	}
	return endpoints
}

// listeners reads a list like ['0.0.0.0:8443', '[::]:8443'], else a port.
func listeners(list, port string) []*messages.Endpoint {
	var found []*messages.Endpoint
	for part := range strings.SplitSeq(strings.Trim(list, "[] "), ",") {
		part = strings.Trim(part, "'\" ")
		if strings.HasPrefix(part, ":") && strings.Count(part, ":") > 1 { // the outer Trim took its bracket
			part = "[" + part
		}
		address, p := splitEndpoint(part)
		if p == 0 || len(found) == mostEndpoints || slices.ContainsFunc(found, func(e *messages.Endpoint) bool {
			return e.GetIpAddress() == address && e.GetPort() == p
		}) {
			continue
		}
		found = append(found, &messages.Endpoint{IpAddress: address, Port: p})
	}
	if len(found) == 0 {
		p := text(port).number()
		if p < 1 || p > 65535 {
			p = defaultPort
		}
		found = []*messages.Endpoint{{Port: p}}
	}
	return found
}
