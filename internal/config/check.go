package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"

	"opensessionmanager/internal/certs"
	"opensessionmanager/internal/consulapi"
)

// check applies the rules that concern more than the form of one value.
func (l *loader) check() {
	l.checkKeyStores()
	l.checkHosts()
	l.checkPorts()
	l.checkAgentTimes()
	l.checkProxies()
	l.checkPersistence()
	l.checkDiscovery()
	l.checkConsul()
	l.warnOfMissingFeatures()
	l.warnOfOpenDoors()
	l.warnOfSampleSecrets()
	l.settleDeletedSessions()
}

// checkKeyStores opens each key store, so that a wrong password is found before anything
// is changed.
func (l *loader) checkKeyStores() {
	c := l.cfg
	for file, password := range map[*Path]*Secret{&c.Client.KeyStoreFile: &c.Client.KeyStorePass, &c.Agent.KeyStoreFile: &c.Agent.KeyStorePass,
		&c.Fleet.KeyStoreFile: &c.Fleet.KeyStorePass} {
		if *file == "" {
			continue
		}
		switch _, err := certs.LoadKeyStore(string(*file), password.Reveal()); {
		case err == nil:
		case errors.Is(err, certs.ErrPassword) && l.of(password).line > 0:
			l.refuse(l.of(password), "is not the password of "+quote(string(*file)), "write the password that the key store was made with")
		default:
			l.refuse(l.of(file), fmt.Sprintf("cannot use %s: %s", quote(string(*file)), reason(err)),
				"name an existing file, or remove the line and the broker makes its own certificate")
		}
	}
}

// reason is the system's own words, without the path that the message has already.
func reason(err error) string {
	if pathError := new(fs.PathError); errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

func (l *loader) checkHosts() {
	l.checkAdvertised()
	for _, field := range []*string{&l.cfg.Client.BindHost, &l.cfg.Agent.BindHost, &l.cfg.Fleet.BindHost} {
		if *field == "" || strings.ContainsAny(*field, " /,") {
			l.refuse(l.of(field), quote(*field)+" is not an address", "write an IP address or a host name of this machine, 0.0.0.0 for all")
		}
	}
}

// checkAdvertised: what others are told must lead them here.
func (l *loader) checkAdvertised() {
	f := &l.cfg.Fleet
	if f.Advertise == "" {
		return
	}
	ip, err := netip.ParseAddr(f.Advertise)
	switch {
	case err == nil && ip.IsUnspecified():
		l.refuse(l.of(&f.Advertise), quote(f.Advertise)+" leads nobody here", "write the address under which the other brokers reach this machine")
	case err != nil && strings.ContainsFunc(f.Advertise, func(r rune) bool { return r > unicode.MaxASCII || !consulapi.Plain(byte(r)) }):
		l.refuse(l.of(&f.Advertise), quote(f.Advertise)+" is neither an IP address nor a host name", "write it without a port, which is "+l.of(&f.Port).key)
	}
}

// checkPorts refuses two listeners on one port: the second would fail to start.
func (l *loader) checkPorts() {
	taken := map[int]*option{}
	ports := []*int{&l.cfg.Client.Port, &l.cfg.Agent.Port, &l.cfg.Admin.Port}
	if l.cfg.Fleet.Discovers() || len(l.cfg.Consul.Addresses) > 0 {
		ports = append(ports, &l.cfg.Fleet.Port)
	}
	if l.cfg.Fleet.Discovers() {
		ports = append(ports, &l.cfg.Fleet.DiscoveryPort)
	}
	for _, field := range ports {
		o := l.of(field)
		if other := taken[*field]; other != nil {
			l.refuse(o, fmt.Sprintf("port %d is also the one of %s", *field, other.key), "give each its own port")
		}
		taken[*field] = o
	}
}

func (l *loader) checkAgentTimes() {
	a := &l.cfg.Agent
	if a.Grace < a.PingInterval {
		l.refuse(l.of(&a.Grace), fmt.Sprintf("is less than %s", l.of(&a.PingInterval).key),
			fmt.Sprintf("write at least %d", a.PingInterval/time.Second))
	}
}

const notSupported = "not supported by this version"

// checkPersistence refuses what would break a promise without a word: the operator
// counts on a database that nobody would write to.
func (l *loader) checkPersistence() {
	p := &l.cfg.Persistence
	if p.Enable {
		l.refuse(l.of(&p.Enable), "an external database is "+notSupported,
			fmt.Sprintf("write false; %s = embedded keeps the state in a file of the working path", l.of(&l.cfg.Storage.StateStore).key))
	}
}

// checkConsul: brokers of a fleet need a store that all of them see.
func (l *loader) checkConsul() {
	c, store := &l.cfg.Consul, &l.cfg.Storage.StateStore
	switch o := l.of(store); {
	case len(c.Addresses) == 0 && *store == "consul":
		l.refuse(o, "Consul is not named", "give "+l.of(&c.Addresses).key)
	case len(c.Addresses) > 0 && o.line != 0 && *store != "consul":
		l.refuse(o, quote(*store)+" is not shared with the other brokers of the fleet", "write consul, or remove the line")
	case len(c.Addresses) > 0:
		*store = "consul"
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		l.refuse(l.of(&c.CertFile), "a certificate and its key are given together or not at all", "give both "+l.of(&c.CertFile).key+" and "+l.of(&c.KeyFile).key)
		return
	}
	l.checkConsulAccess()
}

// checkConsulAccess finds what cannot work whoever answers. An address may carry a
// password by mistake, so it is not repeated.
func (l *loader) checkConsulAccess() {
	c := &l.cfg.Consul
	if err := consulapi.CheckPrefix(c.Prefix); err != nil && c.Prefix != "" {
		l.refuse(l.of(&c.Prefix), reason(err), "write as in dcv-session-manager/, the same on each broker of the fleet")
	}
	for i, address := range c.Addresses {
		if _, err := consulapi.ParseAddress(address, false); err != nil {
			l.refuse(l.of(&c.Addresses), fmt.Sprintf("number %d: %v", i+1, err), "write as in 127.0.0.1:8500 or https://consul.example:8501")
		}
	}
	if len(c.Addresses) == 0 {
		return
	}
	if _, err := (consulapi.TLS{CAFile: string(c.CAFile)}).Config(); err != nil {
		l.refuse(l.of(&c.CAFile), "cannot be used: "+reason(err), "name a PEM file with the CA of Consul's certificate")
	}
	if _, err := (consulapi.TLS{CertFile: string(c.CertFile), KeyFile: string(c.KeyFile)}).Config(); err != nil {
		l.refuse(l.of(&c.CertFile), "cannot be used: "+reason(err), "name PEM files with a certificate and its key")
	}
}

func (l *loader) warnOfMissingFeatures() {
	if l.cfg.Gateway.Enable {
		l.warnOf(&l.cfg.Gateway.Enable, "the session resolver for Connection Gateways is "+notSupported+"; gateways will not find any session", "write false")
	}
	if t := &l.cfg.Throttling; t.RequestsPerSecond != 1000 {
		l.warnOf(&t.RequestsPerSecond, "throttling is "+notSupported+"; the rate of API calls is not limited", "limit it in front of the broker")
	}
	if l.cfg.Metrics.EnableCloudWatch {
		l.warnOf(&l.cfg.Metrics.EnableCloudWatch, "publishing to CloudWatch is "+notSupported+"; nothing will be published", "write false")
	}
}

// warnOfOpenDoors says aloud what everybody on the network may now do (C17).
func (l *loader) warnOfOpenDoors() {
	a := &l.cfg.Authorization
	if !a.EnableClient {
		l.warnOf(&a.EnableClient, "anybody who reaches the client port controls every session", "write true")
	}
	if !a.EnableAgent {
		l.warnOf(&a.EnableAgent, "anybody who reaches the agent port can pose as a DCV server", "write true")
	}
}

// warnOfSampleSecrets finds passwords that stand in the vendor's sample files and
// so are known to everybody (C20).
func (l *loader) warnOfSampleSecrets() {
	for _, o := range l.options {
		if o.line == 0 || o.field.Type() != secretType || o.status == statusIgnored {
			continue
		}
		switch o.field.String() {
		case "dcvsm1", "dcvsm-pass":
			l.warn(slog.LevelWarn, Problem{Line: o.line, Key: o.key, Text: "is the password of the vendor's sample, known to everybody", Fix: "choose one of your own"})
		}
	}
}

// settleDeletedSessions lets the seconds win over the deprecated hours (contract section 6).
func (l *loader) settleDeletedSessions() {
	s := &l.cfg.Sessions
	seconds, hours := l.of(&s.KeepDeleted), l.of(&s.KeepDeletedHours)
	switch {
	case hours.line == 0:
	case seconds.line == 0:
		s.KeepDeleted = s.KeepDeletedHours
		l.warn(slog.LevelInfo, Problem{Line: hours.line, Key: hours.key, Text: "is deprecated",
			Fix: fmt.Sprintf("write %s = %d", seconds.key, s.KeepDeleted/time.Second)})
	default:
		l.warnOf(&s.KeepDeletedHours, "is not used, because "+seconds.key+" is given", "remove the line")
	}
	s.KeepDeletedHours = s.KeepDeleted
}

// settle fills in what depends on the machine.
func (l *loader) settle() {
	if l.cfg.Storage.WorkingPath == "" {
		l.cfg.Storage.WorkingPath = workingPath()
	}
}

// The two places of a broker that was not told where to work.
const (
	installedWorkingPath = "/var/lib/dcvsmbroker" // made by the package
	localWorkingPath     = "dcvsm-broker"
)

// workingPath depends only on the machine and the user, so that the admin commands
// of the same user find the broker's folder.
func workingPath() Path {
	if info, err := os.Stat(installedWorkingPath); err == nil && info.IsDir() && writable(installedWorkingPath) {
		return installedWorkingPath
	}
	return localWorkingPath
}
