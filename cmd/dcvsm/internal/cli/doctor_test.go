package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// syncBuffer is a buffer that two goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// C32: verification is a command, not a grep.
func TestDoctor_TriesStepByStep(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{"Servers":[{"Availability":"AVAILABLE"},{"Availability":"UNAVAILABLE","UnavailabilityReason":"SERVER_CLOSED"}]}`)
	r := b.run(t, "doctor")
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `^ok    settings .*\nok    address .*\nok    certificate   trusted, for .*\nok    health .*\nok    access token  from .*\nok    servers       1 of 2 available, 1 SERVER_CLOSED\n$`, r.out)

	b = newBroker(t, 503, `{"status":"starting"}`)
	r = b.run(t, "doctor")
	require.Equal(t, 254, r.code)
	require.Contains(t, r.out, `FAIL  health        the broker is not ready: {"status":"starting"}`)
	require.NotContains(t, r.out, "access token", "it stops at the first failure")

	r = runWith(t.Context(), map[string]string{"DCV_SM_OAUTH2_TOKEN": "t"}, "--broker-url", b.URL, "doctor")
	require.Equal(t, 255, r.code)
	require.Contains(t, r.out, "FAIL  certificate")
	require.Contains(t, r.err, "give --ca-bundle FILE")
}

// C16: trusting the right CA is one command, and takes only the right one.
func TestTrust_SavesOnlyTheCertificateThatWasNamed(t *testing.T) {
	t.Parallel()
	b := newBroker(t, 200, `{"Servers":[]}`)
	sum := sha256.Sum256(b.Certificate().Raw)
	fingerprint := colons(hex.EncodeToString(sum[:]))
	file := filepath.Join(t.TempDir(), "saved.pem")

	r := runWith(t.Context(), nil, "--broker-url", b.URL, "trust")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "Fingerprint: "+fingerprint+"\n")

	r = runWith(t.Context(), nil, "--broker-url", b.URL, "trust", "--fingerprint", "AA:BB", "--save-to", file)
	require.Equal(t, 255, r.code)
	require.NoFileExists(t, file)

	r = runWith(t.Context(), nil, "--broker-url", b.URL, "trust", "--fingerprint", fingerprint, "--save-to", file)
	require.Zero(t, r.code, r.err)
	want, err := os.ReadFile(b.ca)
	require.NoError(t, err)
	saved, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(saved))

	r = runWith(t.Context(), map[string]string{"DCV_SM_OAUTH2_TOKEN": "tok-1"}, "--broker-url", b.URL, "--ca-bundle", file, "describe-servers")
	require.Zero(t, r.code, r.err)
}
