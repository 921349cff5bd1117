package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"opensessionmanager/agent/securefile"
)

// credentials are what the broker gave at registration.
type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	// EnrolmentToken is the id of the token that it took, which is no secret.
	EnrolmentToken string `json:"enrolment_token,omitempty"`
}

// LogValue keeps the secret out of every log.
func (c credentials) LogValue() slog.Value { return slog.StringValue(c.ID) }

// load reads the kept credentials once; a damaged file counts as none, since
// registering again is harmless. It needs s.mu.
func (s *Source) load() error {
	if s.loaded || s.cfg.CredentialsPath == "" {
		return nil
	}
	content, err := os.ReadFile(s.cfg.CredentialsPath)
	if errors.Is(err, os.ErrNotExist) {
		s.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("enroll: read credentials: %w", err)
	}
	s.loaded = true
	var kept credentials
	if err := json.Unmarshal(content, &kept); err != nil || !kept.valid() {
		s.cfg.Logger.Warn("The kept credentials are damaged, registering again", "file", s.cfg.CredentialsPath)
		return nil
	}
	s.client = kept
	return nil
}

// keep needs s.mu.
func (s *Source) keep() error {
	if s.cfg.CredentialsPath == "" {
		return nil
	}
	content, err := json.Marshal(s.client)
	if err != nil {
		return fmt.Errorf("enroll: encode credentials: %w", err)
	}
	return securefile.Write(s.cfg.CredentialsPath, append(content, '\n'))
}

// valid guards what goes into an Authorization header.
func (c credentials) valid() bool {
	return printable(c.ID) && printable(c.Secret)
}

func printable(s string) bool {
	const longest = 1024
	if s == "" || len(s) > longest {
		return false
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}
