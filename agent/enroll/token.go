package enroll

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"opensessionmanager/agent/securefile"
	"opensessionmanager/internal/enrolment"
)

// nonceFile, beside the credentials, lasts from the first request of an enrolment until
// its credentials are kept.
const nonceFile = "enrolment.json"

// attempt is an enrolment under way. Whoever shows the same nonce with the same token is
// the same host to the broker, and no further use.
type attempt struct {
	TokenID string `json:"token_id"`
	Nonce   string `json:"nonce"`
}

// Enrol makes this host a client by a one-time token, in place of the client it was. Once
// the broker has agreed, and before the credentials are kept, it calls agreed. It can be
// called again after any failure or crash, and then does not need another token.
func (s *Source) Enrol(ctx context.Context, token enrolment.Token, agreed func() error) (clientID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.enrol(ctx, token, agreed)
	return s.client.ID, err
}

// EnrolledBy returns the client that this host became by a token, "" if it did not: then
// nothing is to be done, as for a script that runs again.
func (s *Source) EnrolledBy(token enrolment.Token) (clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.load() != nil || s.client.EnrolmentToken != token.ID.String() {
		return ""
	}
	return s.client.ID
}

// enrol needs s.mu.
func (s *Source) enrol(ctx context.Context, token enrolment.Token, agreed func() error) error {
	nonce, err := s.nonce(token)
	if err != nil {
		return err
	}
	fresh, err := s.requestClient(ctx, registration{EnrolmentToken: token.Text(), EnrolmentNonce: nonce})
	if errors.Is(err, errNotOffered) {
		return fmt.Errorf("%w: it does not register agents", ErrRefused)
	}
	if err != nil {
		return err
	}
	if err := agreed(); err != nil {
		return err
	}
	fresh.EnrolmentToken = token.ID.String()
	s.client, s.token, s.open, s.loaded = fresh, "", false, true
	if err := s.keep(); err != nil {
		return err
	}
	if path := s.noncePath(); path != "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.cfg.Logger.Warn("Cannot remove what an enrolment left", "error", err)
		}
	}
	s.cfg.Logger.Info("Enrolled at the broker", "client", fresh.ID, "enrolment_token", token.ID)
	return nil
}

// nonce returns that of the attempt with the same token, or a new one, kept before it is used.
func (s *Source) nonce(token enrolment.Token) (string, error) {
	path := s.noncePath()
	if content, err := os.ReadFile(path); err == nil {
		var before attempt
		raw, err := []byte(nil), json.Unmarshal(content, &before)
		if err == nil {
			raw, err = hex.DecodeString(before.Nonce)
		}
		if err == nil && len(raw) == enrolment.SecretLen && before.TokenID == token.ID.String() {
			return before.Nonce, nil
		}
	}
	var raw [enrolment.SecretLen]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process first
	now := attempt{token.ID.String(), hex.EncodeToString(raw[:])}
	content, err := json.Marshal(now)
	if err != nil {
		return "", fmt.Errorf("enroll: encode nonce: %w", err)
	}
	if path != "" {
		if err := securefile.Write(path, append(content, '\n')); err != nil {
			return "", err
		}
	}
	return now.Nonce, nil
}

func (s *Source) noncePath() string {
	if s.cfg.CredentialsPath == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(s.cfg.CredentialsPath), nonceFile)
}
