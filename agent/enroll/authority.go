package enroll

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/internal/enrolment"
)

// maxAuthorities bounds the certificates of an answer.
const maxAuthorities = 16

// ErrImpostor: what answers is not the fleet that made the token, as far as can be seen.
var ErrImpostor = errors.New("enroll: the broker shows another certificate authority than the one in the token: " +
	"the token is another fleet's, or somebody may be in the middle; nothing was sent to it")

// errNoEnrolment: the broker has no /agent/ca.
var errNoEnrolment = fmt.Errorf("%w: it knows no enrolment tokens; upgrade it, or use a software statement", ErrRefused)

// Authority asks the brokers, whoever they are, for the authority that signs their
// certificates, and returns it in PEM if it is the one that the token names. No secret
// is sent. ErrImpostor if all that answered name another one.
func Authority(ctx context.Context, brokers []string, want enrolment.Fingerprint) ([]byte, error) {
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}, // what it says is compared with the token
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var failures []error
	for _, broker := range brokers {
		shown, err := askAuthority(ctx, client, broker)
		if err == nil {
			shown, err = pinned(shown, want)
		}
		if err == nil {
			return shown, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", broker, err))
	}
	return nil, errors.Join(failures...)
}

func askAuthority(ctx context.Context, client *http.Client, broker string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+broker+agentproto.PathCA, nil)
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("enroll: read answer: %w", err)
	}
	if err := judge(response.StatusCode, content); errors.Is(err, errNotOffered) {
		return nil, errNoEnrolment
	} else if err != nil {
		return nil, err
	}
	return content, nil
}

// pinned returns those certificates of an answer whose key has the fingerprint.
func pinned(content []byte, want enrolment.Fingerprint) (kept []byte, err error) {
	for range maxAuthorities {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
			continue // the right key under something that its owner never signed
		}
		if found := enrolment.Of(c); subtle.ConstantTimeCompare(found[:], want[:]) == 1 {
			kept = append(kept, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	if kept == nil {
		return nil, ErrImpostor
	}
	return kept, nil
}
