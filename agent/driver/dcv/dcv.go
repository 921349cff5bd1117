// Package dcv drives a DCV server through its command line, `dcv` (contract
// section 11). Arguments are passed as they are, never through a shell; every call
// is bounded in time, output and number, and ends with its whole process group.
//
// What the commands print is outside data: it is read leniently, since the vendor
// documents little of it, and never trusted in size or content.
package dcv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// Config says where things are. Command is required.
type Config struct {
	// Command is the path of the dcv program.
	Command string
	// ServerConfig is the path of dcv.conf, read when dcv cannot list its
	// endpoints; "" means that there is none.
	ServerConfig string
	// InitFolder and AutorunFolder hold what sessions may start; a request names
	// files relative to them.
	InitFolder    string
	AutorunFolder string
	// WorkFolder takes permissions files, for the moment they are needed, and init
	// scripts with an autorun program. Owners of sessions must be able to reach it.
	WorkFolder string
	// DefaultInit starts the desktop of a virtual session that names no init
	// file; /etc/dcv/dcvsessioninit unless set.
	DefaultInit string
	// System is runtime.GOOS unless set: what DCV can do differs.
	System string
	Logger *slog.Logger
}

// Bounds of every call to dcv.
const (
	mostCalls    = 8 // at the same time
	mostText     = 64 << 10
	mostListing  = 8 << 20
	mostPictures = 32 << 20
	// serverFresh is how long the server's description is kept.
	serverFresh = 5 * time.Minute
	// serverRetry is how soon a description that failed is tried again.
	serverRetry = 15 * time.Second
)

// Driver drives the DCV server of this host.
type Driver struct {
	cfg   Config
	calls chan struct{} // holds one item per running call

	mu      sync.Mutex
	server  *driver.Server
	checked time.Time
}

// New returns a driver; it makes the work folder and leaves all else for later.
func New(cfg Config) (*Driver, error) {
	if cfg.Command == "" || cfg.WorkFolder == "" {
		return nil, errors.New("dcv: the path of the dcv program and a work folder are required")
	}
	if cfg.DefaultInit == "" {
		cfg.DefaultInit = "/etc/dcv/dcvsessioninit"
	}
	if cfg.System == "" {
		cfg.System = runtime.GOOS
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// 0711: owners may pass through, and cannot see what others have there.
	if err := os.MkdirAll(cfg.WorkFolder, 0o711); err != nil {
		return nil, fmt.Errorf("dcv: work folder: %w", err)
	}
	if err := os.Chmod(cfg.WorkFolder, 0o711); err != nil { // whatever the umask says
		return nil, fmt.Errorf("dcv: work folder: %w", err)
	}
	return &Driver{cfg: cfg, calls: make(chan struct{}, mostCalls)}, nil
}

// List implements driver.Driver.
func (d *Driver) List(ctx context.Context) ([]*messages.DcvSession, error) {
	out, err := d.run(ctx, mostListing, "list-sessions", "-j")
	if err != nil {
		return nil, err
	}
	sessions, err := parseSessions(out)
	if err != nil {
		return nil, err
	}
	for i, s := range sessions {
		if s.Owner != "" && s.Type != "" {
			continue
		}
		if full, err := d.Describe(ctx, s.Id); err == nil { // a list without details
			sessions[i] = full
		}
	}
	d.sweep(sessions)
	return sessions, nil
}

// Describe implements driver.Driver.
func (d *Driver) Describe(ctx context.Context, id string) (*messages.DcvSession, error) {
	out, err := d.run(ctx, mostListing, "describe-session", id, "-j")
	if err != nil {
		return nil, err
	}
	sessions, err := parseSessions(out)
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if s.Id == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", driver.ErrNotFound, id)
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, spec *messages.CreateSessionRequest) error {
	if err := d.possible(spec); err != nil {
		return err
	}
	initScript, err := d.initScript(spec)
	if err != nil {
		return err
	}
	permissions := ""
	if spec.PermissionsFile != nil {
		if permissions, err = d.temporary(spec.GetPermissionsFile()); err != nil {
			return err
		}
		defer os.Remove(permissions)
	}
	_, err = d.run(ctx, mostText, d.createArguments(spec, initScript, permissions)...)
	if err != nil && !errors.Is(err, driver.ErrTimeout) {
		d.forget(spec.GetSessionId())
	}
	if driver.Code(err) == messages.AgentFailed && !errors.Is(err, driver.ErrExists) && d.ownerIsUnknown(ctx, spec.GetOwner()) {
		return fmt.Errorf("%w: %w", driver.ErrOwnerUnknown, err)
	}
	return err
}

// possible refuses what DCV cannot do here (contract sections 1.5 and 4).
func (d *Driver) possible(spec *messages.CreateSessionRequest) error {
	virtual := spec.GetType() == "virtual"
	switch {
	case virtual && d.cfg.System != "linux":
		return fmt.Errorf("%w: virtual sessions exist on Linux only", driver.ErrUnsupported)
	case !virtual && (spec.GetInitFile() != "" || spec.GetAutorunFile() != ""):
		return fmt.Errorf("%w: init and autorun files need a virtual session", driver.ErrUnsupported)
	case !virtual && spec.DcvGlEnabled != nil && spec.GetDcvGlEnabled():
		return fmt.Errorf("%w: DCV-GL needs a virtual session", driver.ErrUnsupported)
	}
	return nil
}

func (d *Driver) createArguments(spec *messages.CreateSessionRequest, initScript, permissions string) []string {
	arguments := []string{"create-session", "--type", spec.GetType()}
	add := func(name, value string) {
		switch {
		case value == "":
		case strings.HasPrefix(value, "-"): // must not look like an option itself
			arguments = append(arguments, name+"="+value)
		default:
			arguments = append(arguments, name, value)
		}
	}
	add("--name", spec.GetName())
	add("--owner", spec.GetOwner())
	if spec.GetType() == "virtual" {
		add("--user", spec.GetOwner())
		if spec.DcvGlEnabled != nil {
			add("--gl", map[bool]string{true: "on", false: "off"}[spec.GetDcvGlEnabled()])
		}
		add("--init", initScript)
	}
	add("--permissions-file", permissions)
	add("--storage-root", spec.GetStorageRoot())
	if spec.MaxConcurrentClients != nil {
		add("--max-concurrent-clients", strconv.Itoa(int(spec.GetMaxConcurrentClients())))
	}
	return append(arguments, spec.GetSessionId())
}

// Close implements driver.Driver.
func (d *Driver) Close(ctx context.Context, id string) error {
	_, err := d.run(ctx, mostText, "close-session", id)
	if err == nil || errors.Is(err, driver.ErrNotFound) {
		d.forget(id)
	}
	return err
}

// SetPermissions implements driver.Driver.
func (d *Driver) SetPermissions(ctx context.Context, id string, file []byte) error {
	path, err := d.temporary(file)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	_, err = d.run(ctx, mostText, "set-permissions", "--session", id, "--file", path)
	return err
}

// Screenshot implements driver.Driver.
func (d *Driver) Screenshot(ctx context.Context, shot driver.Shot) ([]*messages.ScreenshotImage, error) {
	arguments := []string{"get-screenshot", "--format", shot.Format, "-j"}
	if shot.MaxWidth > 0 {
		arguments = append(arguments, "--max-width", strconv.Itoa(int(shot.MaxWidth)))
	}
	if shot.MaxHeight > 0 {
		arguments = append(arguments, "--max-height", strconv.Itoa(int(shot.MaxHeight)))
	}
	out, err := d.run(ctx, mostPictures, append(arguments, shot.SessionID)...)
	if err != nil {
		return nil, err
	}
	return parseScreenshot(out, time.Now().UnixMilli())
}

// temporary writes a permissions file, mode 0600, that the caller removes.
func (d *Driver) temporary(content []byte) (path string, err error) {
	file, err := os.CreateTemp(d.cfg.WorkFolder, permissionsPrefix+"*")
	if err != nil {
		return "", fmt.Errorf("dcv: permissions file: %w", err)
	}
	_, err = file.Write(content)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("dcv: permissions file: %w", err)
	}
	return filepath.Abs(file.Name())
}
