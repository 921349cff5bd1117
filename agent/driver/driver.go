// Package driver says what the agent needs of the DCV server beside it. Package
// dcv drives the real one through its command line, package fake is a server in
// memory whose faults are chosen by the caller.
//
// A driver holds no policy: limits, idempotency and retries are the agent's.
package driver

import (
	"context"
	"errors"

	"opensessionmanager/messages"
)

// Driver drives one DCV server. Every method is safe for concurrent use, obeys
// its context, and answers with an error that wraps one of the sentinels below
// where one fits.
type Driver interface {
	// Server describes the DCV server. The result is shared and must not be changed;
	// the same pointer means that nothing changed.
	Server(ctx context.Context) (*Server, error)
	// List returns the sessions the server has now.
	List(ctx context.Context) ([]*messages.DcvSession, error)
	// Describe returns one session or ErrNotFound.
	Describe(ctx context.Context, id string) (*messages.DcvSession, error)
	// Create starts a session, or answers ErrExists if the id is taken. After
	// ErrTimeout the session may or may not come to life.
	Create(ctx context.Context, spec *messages.CreateSessionRequest) error
	// Close ends a session or answers ErrNotFound.
	Close(ctx context.Context, id string) error
	// SetPermissions replaces the permissions of a session by the content of a
	// permissions file (contract section 11). An empty file revokes all.
	SetPermissions(ctx context.Context, id string, file []byte) error
	// Screenshot takes pictures of the displays of a session, at least one.
	Screenshot(ctx context.Context, shot Shot) ([]*messages.ScreenshotImage, error)
}

// Server is what rarely changes about a DCV server.
type Server struct {
	Version    string
	WebURLPath string
	// Endpoints are the listeners. An empty address means every address of the host.
	Endpoints []*messages.Endpoint
}

// Shot asks for a screenshot. Sizes are pixels, 0 means the real size.
type Shot struct {
	SessionID string
	MaxWidth  int32
	MaxHeight int32
	// Format is "png" or "jpeg".
	Format string
}

// What can be wrong with a call. Code gives each its name on the agent protocol.
var (
	ErrNotRunning   = errors.New("driver: the dcvserver service is not running")
	ErrNotFound     = errors.New("driver: no such session")
	ErrExists       = errors.New("driver: the session exists already")
	ErrOwnerUnknown = errors.New("driver: the owner is not a user of this host")
	ErrBadFile      = errors.New("driver: file cannot be used")
	ErrBadRequest   = errors.New("driver: request cannot be understood")
	ErrLimit        = errors.New("driver: limit of this host reached")
	ErrTimeout      = errors.New("driver: dcv did not finish in time")
	ErrUnsupported  = errors.New("driver: not possible on this host")
)

// Code returns the result code of the agent protocol for err, "" for nil.
func Code(err error) string {
	if err == nil {
		return ""
	}
	for _, known := range []struct {
		err  error
		code string
	}{
		{ErrNotRunning, messages.AgentDCVNotRunning},
		{ErrNotFound, messages.AgentNotFound},
		{ErrOwnerUnknown, messages.AgentOwnerUnknown},
		{ErrBadFile, messages.AgentBadFile},
		{ErrBadRequest, messages.AgentBadRequest},
		{ErrLimit, messages.AgentLimitReached},
		{ErrTimeout, messages.AgentTimeout},
		{ErrUnsupported, messages.AgentUnsupported},
		{context.DeadlineExceeded, messages.AgentTimeout},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return messages.AgentFailed
}
