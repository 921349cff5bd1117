package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// create starts a session unless it is there already (F14). It waits for a
// dcvserver that is still starting, and when dcv leaves the outcome open it looks.
func (a *Agent) create(ctx context.Context, spec *messages.CreateSessionRequest) (*messages.DcvSession, error) {
	if err := checkSpec(spec); err != nil {
		return nil, err
	}
	var present *messages.DcvSession
	err := a.whenRunning(ctx, func() (err error) {
		present, err = a.gate.admit(ctx, spec, a.cfg.Driver.List)
		return err
	})
	if err != nil {
		return nil, err
	}
	if present != nil {
		return sameSession(present, spec)
	}
	known := true
	defer func() { a.gate.settle(spec.GetSessionId(), known) }()
	err = a.whenRunning(ctx, func() error { return a.cfg.Driver.Create(ctx, spec) })
	doubt := driver.Code(err) == messages.AgentTimeout
	if err != nil && !doubt && !errors.Is(err, driver.ErrExists) {
		return nil, err
	}
	session, lookErr := a.lookAt(ctx, spec.GetSessionId())
	switch {
	case lookErr == nil:
		return sameSession(session, spec)
	case doubt:
		known = false
		return nil, err
	case errors.Is(lookErr, driver.ErrNotFound):
		return nil, errors.New("agent: dcv reported success, but the session is not there")
	}
	// The session was made; that the server cannot be asked about it now is not a
	// reason to make a second one elsewhere.
	return asAsked(spec), nil
}

// lookAt describes a session even if the command's own time is over.
func (a *Agent) lookAt(ctx context.Context, id string) (*messages.DcvSession, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Timing.List)
	defer cancel()
	return a.cfg.Driver.Describe(ctx, id)
}

// whenRunning repeats do while the dcvserver is not running, for as long as a
// server may take to start (C5).
func (a *Agent) whenRunning(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(a.cfg.Timing.Ready)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := do()
		if !errors.Is(err, driver.ErrNotRunning) || time.Now().Add(pause).After(deadline) {
			return err
		}
		if !sleep(ctx, pause) {
			return err
		}
	}
}

// sameSession returns the session that has the id, unless it is another one.
func sameSession(present *messages.DcvSession, spec *messages.CreateSessionRequest) (*messages.DcvSession, error) {
	if present.GetType() != spec.GetType() || !sameOwner(present.GetOwner(), spec.GetOwner()) {
		return nil, errors.New("agent: another session with this id exists on the host")
	}
	return present, nil
}

// sameOwner treats DOMAIN\user and user as one, and on a Windows domain the
// letter case does not matter.
func sameOwner(a, b string) bool {
	return strings.EqualFold(withoutDomain(a), withoutDomain(b))
}

func withoutDomain(owner string) string {
	return owner[strings.LastIndexByte(owner, '\\')+1:]
}

// asAsked describes a session by its request.
func asAsked(spec *messages.CreateSessionRequest) *messages.DcvSession {
	return &messages.DcvSession{
		Id:          spec.GetSessionId(),
		Owner:       spec.GetOwner(),
		User:        spec.GetOwner(),
		Name:        spec.GetName(),
		Type:        spec.GetType(),
		StorageRoot: spec.GetStorageRoot(),
	}
}

// Bounds of what may be passed on to dcv.
const (
	longestID       = 256
	longestName     = 256 // contract section 11
	longestOwner    = 256
	longestPath     = 1024
	longestArgument = 4096
	mostArguments   = 256
	mostPermissions = 1 << 20
	mostClients     = 1 << 16
)

// checkSpec refuses what no dcv could understand and what is dangerous as an
// argument. Nothing here goes through a shell (F29, F31).
func checkSpec(spec *messages.CreateSessionRequest) error {
	kind := spec.GetType()
	switch {
	case kind != typeConsole && kind != typeVirtual:
		return fmt.Errorf("%w: session type must be console or virtual", driver.ErrUnsupported)
	case spec.GetOwner() == "" || !plain(spec.GetOwner(), longestOwner):
		return fmt.Errorf("%w: owner must be a user name", driver.ErrOwnerUnknown)
	case strings.HasPrefix(spec.GetOwner(), "-"):
		return fmt.Errorf("%w: owner must not start with a dash", driver.ErrOwnerUnknown)
	case !plain(spec.GetName(), longestName):
		return fmt.Errorf("%w: name must have at most %d bytes and no control characters", driver.ErrBadRequest, longestName)
	case !plain(spec.GetInitFile(), longestPath), !plain(spec.GetAutorunFile(), longestPath):
		return fmt.Errorf("%w: file names must have at most %d bytes and no control characters", driver.ErrBadFile, longestPath)
	case !plain(spec.GetStorageRoot(), longestPath) || hasParent(spec.GetStorageRoot()):
		return fmt.Errorf("%w: storage root must not hold control characters or \"..\"", driver.ErrBadRequest)
	case spec.GetAutorunFile() == "" && len(spec.GetAutorunFileArguments()) > 0:
		return fmt.Errorf("%w: arguments without an autorun file", driver.ErrBadRequest)
	case len(spec.GetAutorunFileArguments()) > mostArguments:
		return fmt.Errorf("%w: more than %d autorun arguments", driver.ErrBadRequest, mostArguments)
	case spec.MaxConcurrentClients != nil && (spec.GetMaxConcurrentClients() < 1 || spec.GetMaxConcurrentClients() > mostClients):
		return fmt.Errorf("%w: max concurrent clients must be 1 to %d", driver.ErrBadRequest, mostClients)
	}
	for _, argument := range spec.GetAutorunFileArguments() {
		if len(argument) > longestArgument || strings.ContainsRune(argument, 0) {
			return fmt.Errorf("%w: autorun arguments must have at most %d bytes and no NUL", driver.ErrBadRequest, longestArgument)
		}
	}
	if err := checkPermissions(spec.GetPermissionsFile()); err != nil {
		return err
	}
	return checkID(spec.GetSessionId())
}

func checkID(id string) error {
	if id == "" || !plain(id, longestID) || strings.HasPrefix(id, "-") {
		return fmt.Errorf("%w: session id must have 1 to %d bytes, no control characters and no leading dash", driver.ErrBadRequest, longestID)
	}
	return nil
}

func checkPermissions(file []byte) error {
	if len(file) > mostPermissions {
		return fmt.Errorf("%w: permissions file exceeds %d bytes", driver.ErrBadRequest, mostPermissions)
	}
	return nil
}

// plain accepts text without control characters. The codec already made sure
// that it is valid UTF-8.
func plain(s string, longest int) bool {
	return len(s) <= longest && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func hasParent(path string) bool {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return true
		}
	}
	return false
}
