package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"opensessionmanager/http/oauth/authserver"
)

// ErrNotRunning: no broker of this working path runs.
var ErrNotRunning = errors.New("the broker is not running")

// Refused is the broker's no to a command. Text is for people, Code for scripts.
type Refused struct {
	Status     int
	Code, Text string
}

func (r *Refused) Error() string { return r.Text }

const (
	callTimeout = 30 * time.Second
	maxAnswer   = 64 << 20 // descriptions of 100,000 agents are about 12 MB
	maxFile     = 1 << 20
)

// Admin calls one broker.
type Admin struct {
	endpoint   Endpoint
	credential string
	http       *http.Client
}

// Open reads what is needed from a broker's working path. ErrNotRunning if no
// broker runs there; an error of the file system if the caller may not read it.
func Open(workingPath string) (*Admin, error) {
	data, err := readFile(filepath.Join(workingPath, EndpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no %s; start the service first", ErrNotRunning, workingPath, EndpointFile)
	}
	if err != nil {
		return nil, err
	}
	a := &Admin{}
	if err := json.Unmarshal(data, &a.endpoint); err != nil {
		return nil, fmt.Errorf("adminclient: %s cannot be read: %w", EndpointFile, err)
	}
	secret, err := readFile(filepath.Join(workingPath, CredentialFile))
	if err != nil {
		return nil, err
	}
	a.credential = strings.TrimSpace(string(secret))
	caFile := a.endpoint.CAFile
	if !filepath.IsAbs(caFile) {
		caFile = filepath.Join(workingPath, caFile)
	}
	pem, err := readFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("adminclient: %s holds no certificate", caFile)
	}
	a.http = newHTTP(&tls.Config{RootCAs: roots, ServerName: a.endpoint.ServerName, MinVersion: tls.VersionTLS12})
	return a, nil
}

// Close frees idle connections.
func (a *Admin) Close() { a.http.CloseIdleConnections() }

// RegisterAPIClient makes a client of the API.
func (a *Admin) RegisterAPIClient(ctx context.Context, name string) (Credentials, error) {
	return call[Credentials](ctx, a, "register-api-client", RegisterAPIClient{name})
}

// DescribeAPIClients lists the clients of the API.
func (a *Admin) DescribeAPIClients(ctx context.Context) ([]Client, error) {
	list, err := call[Clients](ctx, a, "describe-api-clients", Empty{})
	return list.Clients, err
}

// UnregisterAPIClient deactivates a client of the API.
func (a *Admin) UnregisterAPIClient(ctx context.Context, id string) error {
	_, err := call[Empty](ctx, a, "unregister-api-client", ClientID{id})
	return err
}

// GenerateSoftwareStatement makes a statement with which agents can register.
func (a *Admin) GenerateSoftwareStatement(ctx context.Context) (string, error) {
	made, err := call[SoftwareStatement](ctx, a, "generate-software-statement", Empty{})
	return made.SoftwareStatement, err
}

// DescribeSoftwareStatements lists the statements.
func (a *Admin) DescribeSoftwareStatements(ctx context.Context) ([]Statement, error) {
	list, err := call[Statements](ctx, a, "describe-software-statements", Empty{})
	return list.Statements, err
}

// RotateAPIClientSecret gives a client another password; the one before counts for
// overlapSeconds more.
func (a *Admin) RotateAPIClientSecret(ctx context.Context, id string, overlapSeconds int64) (RotatedSecret, error) {
	return call[RotatedSecret](ctx, a, "rotate-api-client-secret", RotateSecret{id, overlapSeconds})
}

// DeactivateSoftwareStatement ends registrations with a statement, and with withAgents
// takes access from the agents that registered with it; unregistered is how many.
func (a *Admin) DeactivateSoftwareStatement(ctx context.Context, statement string, withAgents bool) (unregistered int, err error) {
	done, err := call[Count](ctx, a, "deactivate-software-statement", DeactivateStatement{statement, withAgents})
	return done.Count, err
}

// GenerateEnrolmentToken makes a token with which so many hosts can enrol for so long.
func (a *Admin) GenerateEnrolmentToken(ctx context.Context, validFor time.Duration, uses int) (EnrolmentToken, error) {
	return call[EnrolmentToken](ctx, a, "generate-enrolment-token", GenerateEnrolment{int64(validFor / time.Second), uses})
}

// DescribeEnrolmentTokens lists the tokens, without their text.
func (a *Admin) DescribeEnrolmentTokens(ctx context.Context) ([]Enrolment, error) {
	list, err := call[Enrolments](ctx, a, "describe-enrolment-tokens", Empty{})
	return list.Enrolments, err
}

// RevokeEnrolmentToken ends a token, and with withAgents takes access from the agents
// that enrolled with it; unregistered is how many.
func (a *Admin) RevokeEnrolmentToken(ctx context.Context, id string, withAgents bool) (unregistered int, err error) {
	done, err := call[Count](ctx, a, "revoke-enrolment-token", RevokeEnrolment{id, withAgents})
	return done.Count, err
}

// DescribeAgentClients lists the registered agents.
func (a *Admin) DescribeAgentClients(ctx context.Context) ([]Client, error) {
	list, err := call[Clients](ctx, a, "describe-agent-clients", Empty{})
	return list.Clients, err
}

// UnregisterAgentClient deactivates an agent.
func (a *Admin) UnregisterAgentClient(ctx context.Context, id string) error {
	_, err := call[Empty](ctx, a, "unregister-agent-client", ClientID{id})
	return err
}

// operator is who typed the command: the account before sudo, if it says so.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if before := os.Getenv("SUDO_USER"); before != "" && before != name {
		name = before + " as " + name
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' { // a header must be plain
			return '?'
		}
		return r
	}, name)
}

// RegisterAuthServer makes tokens of an external authorization server good.
func (a *Admin) RegisterAuthServer(ctx context.Context, server authserver.Server) error {
	_, err := call[Empty](ctx, a, "register-auth-server", server)
	return err
}

// ListAuthServers lists the external authorization servers.
func (a *Admin) ListAuthServers(ctx context.Context) ([]AuthServer, error) {
	list, err := call[AuthServers](ctx, a, "list-auth-servers", Empty{})
	return list.AuthServers, err
}

// UnregisterAuthServer makes tokens of an external authorization server worthless.
func (a *Admin) UnregisterAuthServer(ctx context.Context, url string) error {
	_, err := call[Empty](ctx, a, "unregister-auth-server", URL{url})
	return err
}

// RenewKeys replaces the keys that sign tokens.
func (a *Admin) RenewKeys(ctx context.Context) error {
	_, err := call[Empty](ctx, a, "renew-auth-server-api-key", Empty{})
	return err
}

func call[Out any](ctx context.Context, a *Admin, command string, in any) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("adminclient: encode %s: %w", command, err)
	}
	url := "https://" + a.endpoint.Address + PathPrefix + command
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("adminclient: %s: %w", command, err)
	}
	request.Header.Set("Authorization", "Bearer "+a.credential)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(OperatorHeader, operator())
	response, err := a.http.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return out, fmt.Errorf("%w: nothing answers on %s; start the service first", ErrNotRunning, a.endpoint.Address)
	}
	if err != nil {
		return out, fmt.Errorf("adminclient: %s: %w", command, err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return out, fmt.Errorf("adminclient: %s: %w", command, err)
	}
	if response.StatusCode != http.StatusOK {
		return out, refused(response, data)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("adminclient: answer of %s cannot be read", command) // it may hold a password
	}
	return out, nil
}

func refused(response *http.Response, data []byte) *Refused {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(data, &body) != nil || body.Error == "" {
		body.Error = "the broker answered " + response.Status
	}
	return &Refused{Status: response.StatusCode, Code: response.Header.Get("X-Error-Code"), Text: body.Error}
}

func newHTTP(config *tls.Config) *http.Client {
	return &http.Client{
		Timeout: callTimeout,
		// No proxy from the environment: the credential stays on this host.
		Transport:     &http.Transport{TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("adminclient: %w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("adminclient: %w", err)
	}
	return data, nil
}
