package settings

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/enrolment"
)

// C25: the key has an effect, and a token that was cut is found by --check-config.
func TestLoad_ChecksTheEnrolmentToken(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	token, file := enrolment.New(enrolment.Fingerprint{}), filepath.Join(folder, "token")
	conf := filepath.Join(folder, "agent.conf")
	require.NoError(t, os.WriteFile(conf, []byte("version='0.1'\n[agent]\nbroker_host='b'\nenrolment_token_path='"+file+"'\n"), 0o600))
	load := func(content string, mode os.FileMode) (text string) {
		require.NoError(t, os.RemoveAll(file))
		if content != "" {
			require.NoError(t, os.WriteFile(file, []byte(content), mode))
		}
		_, warnings, err := Load(conf)
		if err != nil {
			return err.Error()
		}
		for _, w := range warnings {
			text += w.Problem.String()
		}
		return text
	}
	require.Empty(t, load(token.Text()+"\n", 0o600))
	require.Empty(t, load("enrolment-token: "+token.Text()+"\n", 0o600), "as the broker prints it")
	require.Contains(t, load(token.Text(), 0o644), "others may read this file")
	require.Contains(t, load("", 0), "the file cannot be read")
	cut := load(token.Text()[:90], 0o600)
	require.Contains(t, cut, conf+":4: agent.enrolment_token_path: the enrolment token is damaged")
	require.NotContains(t, cut, token.Text()[20:50])
}

// agent.conf needs no ca_file on a host that enrolled; one that is configured wins.
func TestTrustedCA_IsTheEnrolledOneUnlessConfigured(t *testing.T) {
	t.Parallel()
	a := Default("linux").Agent
	a.DataFolder = t.TempDir()
	require.Empty(t, a.TrustedCA())
	require.NoError(t, os.WriteFile(a.EnrolledCA(), nil, 0o600))
	require.Equal(t, filepath.Join(a.DataFolder, "broker-ca.pem"), a.TrustedCA())
	a.CAFile = "/x.pem"
	require.Equal(t, "/x.pem", a.TrustedCA())
}

func TestWithout_TakesTheCommandLineForTheFile(t *testing.T) {
	t.Parallel()
	s, _, err := Without(func(s *Settings) { s.Agent.BrokerHost = "b" })
	require.NoError(t, err)
	require.Equal(t, []string{"b:8445"}, s.Agent.Brokers())
	_, _, err = Without(func(s *Settings) { s.Agent.BrokerHost = "https://b" })
	require.ErrorContains(t, err, "write the name only")
}
