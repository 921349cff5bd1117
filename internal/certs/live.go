package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Source returns the certificate that should be in use now, given the one that is,
// nil at first. It may return both a certificate and what is wrong; with no
// certificate the current one stays.
type Source func(current *tls.Certificate) (*tls.Certificate, error)

// Live is a certificate that follows its source while it is in use. New handshakes
// get the newest one; connections keep what they have.
type Live struct {
	source Source
	logger *slog.Logger

	current atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // one refresh at a time
	told string     // the failure that was logged last
}

// Follow asks source for the first certificate, which it must have.
func Follow(source Source, logger *slog.Logger) (*Live, error) {
	l := &Live{source: source, logger: logger}
	err := l.Refresh()
	if l.current.Load() != nil {
		return l, nil
	}
	if err == nil {
		err = errors.New("certs: no certificate to begin with")
	}
	return nil, err
}

// Refresh asks the source again, as Run does at intervals. A failure is returned each
// time and logged when it is a new one; the old certificate stays.
func (l *Live) Refresh() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.current.Load()
	next, err := l.source(before)
	if next != nil {
		l.current.Store(next)
	}
	switch {
	case err != nil && err.Error() != l.told:
		l.told = err.Error()
		l.logger.Warn("A certificate cannot be refreshed; the one in use stays.", slog.Any("error", err))
	case err == nil:
		l.told = ""
	}
	if before != nil && next != nil && !next.Leaf.Equal(before.Leaf) {
		l.logger.Info("A new certificate is in use.",
			slog.String("fingerprint", Fingerprint(next.Leaf)), slog.Time("expires", next.Leaf.NotAfter))
	}
	return err
}

// Run refreshes at each tick (once a minute is plenty) until ctx ends.
func (l *Live) Run(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			_ = l.Refresh() // logged there
		}
	}
}

// NotAfter is when the certificate in use expires: the value of the expiry metric.
func (l *Live) NotAfter() time.Time { return l.current.Load().Leaf.NotAfter }

// GetCertificate is for tls.Config of a server.
func (l *Live) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.current.Load(), nil
}

// GetClientCertificate is for tls.Config of a client.
func (l *Live) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return l.current.Load(), nil
}
