package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"opensessionmanager/agent/enroll"
	"opensessionmanager/agent/securefile"
	"opensessionmanager/agent/settings"
	"opensessionmanager/internal/enrolment"
)

// Delays between attempts of an agent that enrols by itself, with full jitter.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// ErrUntrusted: the certificate that the broker shows cannot be verified.
var ErrUntrusted = errors.New("service: the broker's certificate is not trusted; nothing was sent to it")

// Enrolled is what came of an enrolment.
type Enrolled struct {
	ClientID string
	// CAFile is the authority that is trusted from now on. Fetched: it came from the
	// broker, and was not configured.
	CAFile  string
	Fetched bool
	Already bool // nothing was to be done
}

// Enrol makes this host a client of its brokers by a token, and keeps their authority
// and the credentials in the data folder. A configured ca_file is trusted instead of the
// authority in the token: that is for a balancer which ends TLS with a certificate of its
// own. The error is enroll.ErrImpostor, ErrUntrusted, enroll.ErrRefused, or one that is
// worth another try later; nothing is lost by it.
func Enrol(ctx context.Context, a settings.Agent, token enrolment.Token, log *slog.Logger) (Enrolled, error) {
	if id := tokens(a, &tls.Config{}, log).EnrolledBy(token); id != "" && a.TrustedCA() != "" {
		return Enrolled{ClientID: id, CAFile: a.TrustedCA(), Fetched: a.CAFile == "", Already: true}, nil
	}
	var authority []byte
	whom := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CAFile != "" {
		a.TLSStrict = true // a secret is about to be sent
		var err error
		if whom, err = trust(a); err != nil {
			return Enrolled{}, err
		}
	} else {
		var err error
		if authority, err = enroll.Authority(ctx, a.Brokers(), token.Fingerprint); err != nil {
			return Enrolled{}, err
		}
		whom.RootCAs = x509.NewCertPool()
		whom.RootCAs.AppendCertsFromPEM(authority)
	}
	id, err := tokens(a, whom, log).Enrol(ctx, token, func() error {
		if authority == nil {
			return nil
		}
		return securefile.WritePublic(a.EnrolledCA(), authority)
	})
	if err != nil {
		return Enrolled{}, explain(err)
	}
	return Enrolled{ClientID: id, CAFile: a.TrustedCA(), Fetched: authority != nil}, nil
}

// explain says what to do about a certificate.
func explain(err error) error {
	var name x509.HostnameError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%w: it is not for the name that was asked for: use one of its names as broker_host, or add this one to the broker's names (%w)", ErrUntrusted, err)
	case errors.As(err, &unverified):
		return fmt.Errorf("%w: it is not signed by the authority that was expected: a load balancer may end TLS with a certificate of its own; "+
			"then set ca_file to the authority of that, or have it pass TLS through (%w)", ErrUntrusted, err)
	}
	return err
}

// pending says whether the agent has to enrol before it can do anything: it is told where
// a token is and has no credentials, nor a statement to get some.
func pending(a settings.Agent) bool {
	if a.EnrolmentTokenPath == "" || exists(CredentialsFile(a)) {
		return false
	}
	return exists(a.EnrolmentTokenPath) || !exists(a.SoftwareStatementPath)
}

// CredentialsFile is the path of what the brokers gave this host.
func CredentialsFile(a settings.Agent) string { return filepath.Join(a.DataFolder, credentialsFile) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// enrolFirst tries until the host is enrolled, by itself or by somebody with the command,
// or ctx ends.
func enrolFirst(ctx context.Context, a settings.Agent, log *slog.Logger) error {
	for bound := firstPause; pending(a); bound = min(2*bound, longestPause) {
		token, err := settings.ReadEnrolmentToken(a.EnrolmentTokenPath)
		if err == nil {
			_, err = Enrol(ctx, a, token, log)
		}
		if err == nil {
			return nil
		}
		log.Error("Cannot enrol this host yet, trying again", "enrolment_token_path", a.EnrolmentTokenPath, "error", err)
		pause := time.NewTimer(rand.N(bound))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
	return nil
}
