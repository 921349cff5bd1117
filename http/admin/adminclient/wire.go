// Package adminclient is the caller's end of the broker's admin endpoint: what
// the admin commands use to talk to the running broker. It finds address, CA and
// credential in the broker's working path, where only its user and root can read.
package adminclient

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"opensessionmanager/http/oauth/authserver"
)

// PathPrefix comes before the name of a command, which is the vendor's (contract section 8).
const PathPrefix = "/admin/v1/"

// OperatorHeader names the account that typed a command, for the audit trail.
const OperatorHeader = "X-Operator"

// Files of the endpoint, in the broker's working path.
const (
	// CredentialFile holds the bearer credential; mode 0600.
	CredentialFile = "admin-credential"
	// EndpointFile holds an Endpoint as JSON while a broker runs.
	EndpointFile = "admin-endpoint.json"
)

// Endpoint says where a running broker takes admin commands.
type Endpoint struct {
	// Address is host:port.
	Address string `json:"address"`
	// CAFile holds the CA of the broker's certificate in PEM; relative to the working path.
	CAFile string `json:"caFile"`
	// ServerName is a name in that certificate.
	ServerName string `json:"serverName"`
}

// Empty is the request or answer of a command that has none.
type Empty struct{}

// RegisterAPIClient is the request of register-api-client.
type RegisterAPIClient struct {
	Name string `json:"name"`
}

// Subject is what the audit trail says the command was about; so are those below.
func (r RegisterAPIClient) Subject() string { return r.Name }

// Credentials are shown once.
type Credentials struct {
	ClientID       string `json:"clientId"`
	ClientPassword string `json:"clientPassword"`
}

func (c Credentials) Subject() string { return c.ClientID }

// ClientID is the request of unregister-api-client and unregister-agent-client.
type ClientID struct {
	ClientID string `json:"clientId"`
}

func (c ClientID) Subject() string { return c.ClientID }

// Client describes an API client or an agent.
type Client struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Active bool   `json:"active"`
}

// Clients is the answer of describe-api-clients and describe-agent-clients.
type Clients struct {
	Clients []Client `json:"clients"`
}

// RotateSecret is the request of rotate-api-client-secret.
type RotateSecret struct {
	ClientID string `json:"clientId"`
	// OverlapSeconds is how long the secret before goes on to count.
	OverlapSeconds int64 `json:"overlapSeconds"`
}

func (r RotateSecret) Subject() string { return r.ClientID }

// RotatedSecret is its answer.
type RotatedSecret struct {
	Credentials
	PreviousUntil time.Time `json:"previousUntil"`
}

// Subject says nothing: the request has said it.
func (r RotatedSecret) Subject() string { return "" }

// DeactivateStatement is the request of deactivate-software-statement.
type DeactivateStatement struct {
	SoftwareStatement string `json:"softwareStatement"`
	// WithAgents unregisters the agents that registered with it, too.
	WithAgents bool `json:"withAgents"`
}

func (d DeactivateStatement) Subject() string {
	return SoftwareStatement{d.SoftwareStatement}.Subject()
}

// SoftwareStatement is the answer of generate-software-statement.
type SoftwareStatement struct {
	SoftwareStatement string `json:"softwareStatement"`
}

// Subject is a fingerprint: whoever has the statement can register agents.
func (s SoftwareStatement) Subject() string {
	if s.SoftwareStatement == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s.SoftwareStatement))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// Statement describes a software statement.
type Statement struct {
	SoftwareStatement string    `json:"softwareStatement"`
	IssuedAt          time.Time `json:"issuedAt"`
	Active            bool      `json:"active"`
}

// Statements is the answer of describe-software-statements.
type Statements struct {
	Statements []Statement `json:"statements"`
}

// GenerateEnrolment is the request of generate-enrolment-token.
type GenerateEnrolment struct {
	ValidSeconds int64 `json:"validSeconds"`
	Uses         int   `json:"uses"` // how many hosts may enrol
}

// EnrolmentToken is its answer. Text is a secret and is shown once.
type EnrolmentToken struct {
	Text string `json:"enrolmentToken"`
	Enrolment
}

// Enrolment describes an enrolment token.
type Enrolment struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	UsesLeft int       `json:"usesLeft"`
	Active   bool      `json:"active"`
}

// Subject is for the audit trail.
func (e Enrolment) Subject() string { return e.ID }

// Enrolments is the answer of describe-enrolment-tokens.
type Enrolments struct {
	Enrolments []Enrolment `json:"enrolments"`
}

// RevokeEnrolment is the request of revoke-enrolment-token.
type RevokeEnrolment struct {
	ID string `json:"id"`
	// WithAgents unregisters the agents that enrolled with it, too.
	WithAgents bool `json:"withAgents"`
}

// Subject is for the audit trail.
func (r RevokeEnrolment) Subject() string { return r.ID }

// URL is the request of unregister-auth-server.
type URL struct {
	URL string `json:"url"`
}

// Subject is for the audit trail.
func (u URL) Subject() string { return u.URL }

// AuthServer describes a registered authorization server, and how this broker fares
// with its keys.
type AuthServer struct {
	authserver.Server
	Keys    int       `json:"keys"`             // that can verify tokens
	Fetched time.Time `json:"fetched,omitzero"` // last time that the keys came
	Problem string    `json:"problem,omitempty"`
}

// AuthServers is the answer of list-auth-servers.
type AuthServers struct {
	AuthServers []AuthServer `json:"authServers"`
}
