// Package authserver is what an administrator says about an external authorization
// server: where its keys are, and what tokens of it must look like (contract
// sections 2 and 8). It is shared by the broker and its command line, which can
// leave a registration for a broker that does not run yet.
package authserver

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Server is a registered authorization server.
type Server struct {
	// URL is where its key set (JWKS) is.
	URL string `json:"url"`
	// Algorithm signs its tokens. Empty: the one each key names, and for keys that
	// name none RS256, or what the key's curve says.
	Algorithm string `json:"algorithm,omitempty"`
	// Issuer, Audience and Scope must be in a token if they are given. A scope may
	// stand in scope or scp, or be a role.
	Issuer   string `json:"issuer,omitempty"`
	Audience string `json:"audience,omitempty"`
	Scope    string `json:"scope,omitempty"`
	// AnyPath lets the URL end in something else than KeySetPath.
	AnyPath bool `json:"anyPath,omitempty"`
}

// Subject is what the audit trail says of it.
func (s Server) Subject() string { return s.URL }

// KeySetPath is how the URL of a key set ends, the vendor says (contract section 2).
const KeySetPath = ".well-known/jwks.json"

// Bounds in bytes.
const (
	maxURL   = 2048
	maxClaim = 512
)

// ErrInvalid is wrapped with what is wrong with a Server.
var ErrInvalid = errors.New("authserver: invalid registration")

// Algorithms are those that tokens of external servers may be signed with: none that
// works with a shared secret, since a public key is no secret (RFC 8725 section 3.2).
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// Check says what is wrong with s, in words for who typed it.
func (s Server) Check() error {
	if err := s.checkURL(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if s.Algorithm != "" && !slices.Contains(Algorithms(), s.Algorithm) {
		return fmt.Errorf("%w: the algorithm must be one of %s", ErrInvalid, strings.Join(Algorithms(), ", "))
	}
	for name, text := range map[string]string{"issuer": s.Issuer, "audience": s.Audience, "scope": s.Scope} {
		if len(text) > maxClaim || !printable(text) {
			return fmt.Errorf("%w: the %s must be printable and at most %d bytes", ErrInvalid, name, maxClaim)
		}
	}
	if strings.ContainsRune(s.Scope, ' ') {
		return fmt.Errorf("%w: the scope must be a single one", ErrInvalid)
	}
	return nil
}

func (s Server) checkURL() error {
	if s.URL == "" || len(s.URL) > maxURL || !printable(s.URL) || strings.ContainsRune(s.URL, ' ') {
		return fmt.Errorf("the URL must be printable, without blanks and at most %d bytes", maxURL)
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("the URL must be a whole one, as in https://auth.example.com/.well-known/jwks.json")
	case u.User != nil:
		return errors.New("the URL must not hold a user or a password")
	case u.Fragment != "" || strings.HasSuffix(s.URL, "#"):
		return errors.New("the URL must not have a fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("the URL must begin with https://; http:// is for a server on this machine only")
	case !s.AnyPath && (u.RawQuery != "" || !strings.HasSuffix(u.Path, "/"+KeySetPath)):
		return errors.New("the URL must end in " + KeySetPath +
			"; for a provider that has its keys elsewhere, such as Microsoft Entra ID, add --any-path")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
