package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"opensessionmanager/internal/agentproto"
)

const (
	maxAnswer    = 64 << 10
	maxStatement = 16 << 10
	maxToken     = 16 << 10
	// Lifetimes outside of this are the broker's mistake; both ends are harmless.
	shortestToken, longestToken = 10, 24 * 3600
)

type registration struct {
	SoftwareStatement       string   `json:"software_statement,omitempty"`
	EnrolmentToken          string   `json:"enrolment_token,omitempty"`
	EnrolmentNonce          string   `json:"enrolment_nonce,omitempty"`
	ClientName              string   `json:"client_name,omitempty"`
	GrantTypes              []string `json:"grant_types"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method"`
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// requestClient registers with the papers that are given.
func (s *Source) requestClient(ctx context.Context, papers registration) (credentials, error) {
	papers.ClientName = s.cfg.ClientName
	papers.GrantTypes = []string{"client_credentials"}
	papers.TokenEndpointAuthMethod = "client_secret_basic"
	body, err := json.Marshal(papers)
	if err != nil {
		return credentials{}, fmt.Errorf("enroll: encode registration: %w", err)
	}
	var fresh credentials
	err = s.post(ctx, call{path: agentproto.PathRegister, contentType: "application/json", body: body}, &fresh)
	if err != nil {
		if papers.SoftwareStatement == "" && papers.EnrolmentToken == "" && errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w; no software statement at %s: copy the broker's there", err, s.cfg.StatementPath)
		}
		return credentials{}, fmt.Errorf("register: %w", err)
	}
	if !fresh.valid() {
		return credentials{}, fmt.Errorf("%w: registration answer holds no usable client_id and client_secret", ErrRefused)
	}
	return fresh, nil
}

func (s *Source) requestToken(ctx context.Context) (tokenAnswer, error) {
	var answer tokenAnswer
	err := s.post(ctx, call{
		path:        agentproto.PathToken,
		contentType: "application/x-www-form-urlencoded",
		body:        []byte("grant_type=client_credentials"),
		who:         s.client,
	}, &answer)
	if errors.Is(err, errUnauthorized) {
		return answer, errUnknownClient
	}
	if err != nil {
		return answer, fmt.Errorf("token: %w", err)
	}
	if !printableToken(answer.AccessToken) {
		return answer, fmt.Errorf("%w: token answer holds no usable access_token", ErrRefused)
	}
	answer.ExpiresIn = min(max(answer.ExpiresIn, shortestToken), longestToken)
	return answer, nil
}

func printableToken(t string) bool {
	return t != "" && len(t) <= maxToken && !strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' })
}

// errUnauthorized is ErrRefused by status 401, which a token request treats apart.
var errUnauthorized = fmt.Errorf("%w with status 401", ErrRefused)

type call struct {
	path, contentType string
	body              []byte
	who               credentials // none: no Authorization header
}

// post asks one broker after the other until one answers at all.
func (s *Source) post(ctx context.Context, c call, into any) error {
	var failures []error
	for _, broker := range s.cfg.Brokers {
		answered, err := s.postTo(ctx, broker, c, into)
		if answered || ctx.Err() != nil {
			return err
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func (s *Source) postTo(ctx context.Context, broker string, c call, into any) (answered bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+broker+c.path, bytes.NewReader(c.body))
	if err != nil {
		return false, fmt.Errorf("enroll: %w", err)
	}
	request.Header.Set("Content-Type", c.contentType)
	request.Header.Set("Accept", "application/json")
	if c.who.ID != "" {
		request.SetBasicAuth(c.who.ID, c.who.Secret)
	}
	response, err := s.cfg.Client.Do(request)
	if err != nil {
		return false, fmt.Errorf("enroll: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return false, fmt.Errorf("enroll: read answer: %w", err)
	}
	if err := judge(response.StatusCode, content); err != nil {
		// A broker that is starting or ill (5xx) may have healthy peers.
		return response.StatusCode < http.StatusInternalServerError, err
	}
	if len(content) > maxAnswer {
		return true, fmt.Errorf("enroll: answer exceeds %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return true, fmt.Errorf("enroll: answer is not the JSON expected: %w", err)
	}
	return true, nil
}

func judge(status int, content []byte) error {
	switch {
	case status == http.StatusOK, status == http.StatusCreated:
		return nil
	case status == http.StatusUnauthorized:
		return errUnauthorized
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return errNotOffered
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return fmt.Errorf("enroll: the broker answered status %d", status)
	}
	return fmt.Errorf("%w with status %d: %s", ErrRefused, status, reason(content))
}

// reason returns the broker's explanation: RFC 6749 or the broker's own form.
func reason(content []byte) string {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(content, &said)
	const longest = 200
	text := fmt.Sprintf("%q", said.Error+" "+said.Description)
	if len(text) > longest {
		text = text[:longest]
	}
	return text
}
