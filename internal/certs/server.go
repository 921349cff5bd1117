package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"time"
)

// ServerCertificate is a Source: the certificate in ServerFile, made anew if two
// thirds of its life are over, if the machine got a name or an address, if another
// authority took over, or if there is none. An unreadable file is left alone as long
// as the current certificate will do.
func (a *Authority) ServerCertificate(current *tls.Certificate) (*tls.Certificate, error) {
	names := wanted(a.cfg.Hosts, a.cfg.Names())
	a.mu.Lock()
	defer a.mu.Unlock()
	// If the authority cannot be read any more, the one in use can still renew.
	failure := a.load()
	stored, unreadable := a.readServer()
	if stored != nil {
		current = stored
	}
	why := due(a.ca.Leaf, current, names, a.cfg.Now())
	if why == "" {
		return current, errors.Join(failure, unreadable)
	}
	if unreadable != nil {
		a.cfg.Logger.Warn("The file of the server certificate is replaced.", slog.Any("error", unreadable))
	}
	fresh, err := a.issue(a.ca, names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	if err != nil {
		return current, errors.Join(failure, err)
	}
	if err := a.writeServer(fresh); err != nil {
		return fresh, errors.Join(failure, err) // it will do until the next start
	}
	a.cfg.Logger.Info("A server certificate was issued.", slog.String("why", why),
		slog.Any("names", names), slog.Time("expires", fresh.Leaf.NotAfter))
	return fresh, failure
}

// readServer returns nothing if there is no file.
func (a *Authority) readServer() (*tls.Certificate, error) {
	data, err := readSecret(a.path(ServerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		var stored *tls.Certificate
		if stored, err = parsePEM(data); err == nil {
			return stored, nil
		}
	}
	return nil, fmt.Errorf("certs: %s: %w", ServerFile, err)
}

func (a *Authority) writeServer(c *tls.Certificate) error {
	key, chain, err := EncodePEM(c)
	if err != nil {
		return err
	}
	if err := writeFile(a.path(ServerFile), append(key, chain...), 0o600); err != nil {
		return fmt.Errorf("certs: write server certificate: %w", err)
	}
	return nil
}

// due says why c has to be replaced by one that ca issues, or nothing.
func due(ca *x509.Certificate, c *tls.Certificate, names []string, now time.Time) string {
	if c == nil {
		return "there was none"
	}
	if c.Leaf.CheckSignatureFrom(ca) != nil {
		return "another authority issued the old one"
	}
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	// A certificate that ends with its authority would not last longer if made again.
	if now.After(c.Leaf.NotBefore.Add(life/3*2)) && c.Leaf.NotAfter.Before(ca.NotAfter) {
		return "two thirds of its life were over"
	}
	for _, name := range names {
		if !covers(c.Leaf, name) {
			return "it lacked the name " + name
		}
	}
	return ""
}

func covers(c *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(c.IPAddresses, ip.Equal)
	}
	return slices.Contains(c.DNSNames, name)
}
