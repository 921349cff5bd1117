package keyset

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Bounds of a fetch.
const (
	maxAnswer    = 1 << 20         // bytes
	maxHeader    = 64 << 10        // bytes
	fetchTimeout = 5 * time.Second // from the first packet to the last byte
)

var errTooLarge = errors.New("the answer is larger than 1 MiB")

// NewClient returns what fetches key sets. Servers must have a certificate of roots;
// nil are the machine's. Redirects are not followed: a server that was registered
// may not name another. A proxy of the environment is used; it sees no secret.
func NewClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // what is small on the way stays small
			DisableKeepAlives:      true, // minutes pass between two fetches
		},
	}
}

// fetch gets a key set. Its errors hold nothing that the server said.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be asked")
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	response, err := client.Do(request)
	if err != nil {
		return nil, failure(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, failure(err)
	}
	if len(data) > maxAnswer {
		return nil, errTooLarge
	}
	return data, nil
}

// failure puts the errors of a connection into words: those of the library repeat the
// URL, and may repeat what the server sent.
func failure(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) && wrapped.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server did not answer within %v", fetchTimeout)
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate x509.CertificateInvalidError
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &certificate) {
		return errors.New("the server's certificate is not trusted")
	}
	return errors.New("the server cannot be reached, or what it answers is not HTTP")
}
