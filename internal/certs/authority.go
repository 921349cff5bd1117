package certs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Files of an Authority in its folder, <working path>/security.
const (
	// CAFile is the certificate that clients and agents trust; everybody may read
	// it (contract section 12).
	CAFile = "dcvsmbroker_ca.pem"
	// CAKeyFile holds the authority's private key and its certificate; mode 0600.
	CAKeyFile = "dcvsmbroker_ca_key.pem"
	// ServerFile holds the server's private key and certificate; mode 0600. It is
	// replaced at will: certificates of an operator belong in a key store.
	ServerFile = "dcvsmbroker_server.pem"
)

// Errors of Ensure.
var (
	// ErrNoKey: there is a CA certificate that others may trust already, but not its
	// key. A new authority would break them silently.
	ErrNoKey = errors.New("certs: " + CAFile + " is there but " + CAKeyFile + " is not: restore the key, or remove the certificate to begin anew")
	// ErrExpired: the CA certificate's time is over. Clients have to be given a new one.
	ErrExpired = errors.New("certs: the CA certificate has expired: remove " + CAFile + " and " + CAKeyFile + " to begin anew")
)

// Config says how to make certificates. Only Dir is required.
type Config struct {
	Dir    string           // made if absent, for all to enter: CAFile is public
	Hosts  []string         // more DNS names (also *.example.com) and IP addresses for the server certificate
	Names  func() []string  // names and addresses of this machine; default MachineNames
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: nowhere
}

// Authority is a CA of our own and what it issues. Its methods may be called
// concurrently.
type Authority struct {
	cfg Config

	mu sync.Mutex // around the files and ca
	ca *tls.Certificate
}

// Ensure opens the authority in cfg.Dir and makes it and the server certificate if
// they are missing. Processes that do so at once end up with the same authority.
func Ensure(cfg Config) (*Authority, error) {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Names == nil {
		cfg.Names = MachineNames
	}
	if err := checkHosts(cfg.Hosts); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("certs: make folder: %w", err)
	}
	a := &Authority{cfg: cfg}
	if err := a.open(); err != nil {
		return nil, err
	}
	if _, err := a.ServerCertificate(nil); err != nil {
		return nil, err
	}
	return a, nil
}

// Certificate is the CA certificate in use; read only.
func (a *Authority) Certificate() *x509.Certificate {
	return a.authority().Leaf
}

// Fingerprint is the SHA-256 of the CA certificate as 64 lower-case hex digits.
func (a *Authority) Fingerprint() string { return Fingerprint(a.Certificate()) }

// Fingerprint is the SHA-256 of a certificate as 64 lower-case hex digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Pool trusts this authority and nobody else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return pool
}

func (a *Authority) authority() *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca
}

func (a *Authority) path(name string) string { return filepath.Join(a.cfg.Dir, name) }

// open loads the authority, or makes one if there never was one.
func (a *Authority) open() error {
	// The key is made before the certificate is published, so who sees the
	// certificate and then no key did not meet a start that is under way.
	_, published := os.Stat(a.path(CAFile))
	err := a.load()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if published == nil {
		return ErrNoKey
	}
	if err := a.create(); err != nil {
		return fmt.Errorf("certs: make CA: %w", err)
	}
	return a.load()
}

func (a *Authority) create() error {
	ca, err := newAuthority(a.cfg.Now())
	if err != nil {
		return err
	}
	key, chain, err := EncodePEM(ca)
	if err != nil {
		return err
	}
	err = createFile(a.path(CAKeyFile), append(key, chain...), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster; its authority is the one
	}
	return err
}

// load takes the authority from its files, unless it is the one in use.
func (a *Authority) load() error {
	data, err := readSecret(a.path(CAKeyFile))
	if err != nil {
		return fmt.Errorf("certs: read CA: %w", err)
	}
	public, err := readFile(a.path(CAFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("certs: read CA: %w", err)
	}
	ca, err := parsePEM(data)
	if err != nil { // perhaps an operator's, in two files
		ca, err = parsePEM(append(append(data, '\n'), public...))
	}
	if err != nil {
		return fmt.Errorf("certs: %s: %w", CAKeyFile, err)
	}
	if !ca.Leaf.IsCA {
		return fmt.Errorf("certs: %s: its certificate is not a CA's", CAKeyFile)
	}
	if a.cfg.Now().After(ca.Leaf.NotAfter) {
		return ErrExpired
	}
	return a.adopt(ca, public)
}

func (a *Authority) adopt(ca *tls.Certificate, public []byte) error {
	published := encodeCertificate(ca.Leaf.Raw)
	if !bytes.Equal(published, public) {
		if err := writeFile(a.path(CAFile), published, 0o644); err != nil {
			return fmt.Errorf("certs: publish CA: %w", err)
		}
	}
	if a.ca == nil || !a.ca.Leaf.Equal(ca.Leaf) {
		a.cfg.Logger.Info("The broker's own certificate authority is in use.",
			slog.String("file", a.path(CAFile)), slog.String("fingerprint", Fingerprint(ca.Leaf)),
			slog.Time("expires", ca.Leaf.NotAfter))
	}
	a.ca = ca
	return nil
}
