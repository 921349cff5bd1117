// Package fake is a DCV server in memory, for tests and for simulated hosts by
// the thousand. It costs a few hundred bytes while it has no sessions, and it
// fails in the ways real servers do when it is told to.
package fake

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"sort"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/agent/driver"
	"opensessionmanager/messages"
)

// Faults are what goes wrong. The zero value is a server in good health.
type Faults struct {
	// Unhealthy makes every call answer driver.ErrNotRunning.
	Unhealthy bool
	// NotRunning makes this many creates answer driver.ErrNotRunning, then heals:
	// a dcvserver that is still starting (expectation C5).
	NotRunning int
	// FailCreates makes this many creates answer CreateError.
	FailCreates int
	// CreateError is driver.ErrBadFile unless set.
	CreateError error
	// StartDelay is how long a create takes.
	StartDelay time.Duration
	// LateStart makes creates answer driver.ErrTimeout although the session starts.
	LateStart bool
	// Stall makes every call wait for the end of its context.
	Stall bool
}

// Driver is the fake server. The zero value is not usable; call New.
type Driver struct {
	now    func() time.Time
	server *driver.Server

	mu       sync.Mutex
	faults   Faults
	sessions map[string]*session
	creates  int
}

type session struct {
	facts       *messages.DcvSession
	permissions []byte
}

// DefaultServer describes a server that listens on 8443 for HTTP. It may be
// shared by any number of drivers.
func DefaultServer() *driver.Server {
	return &driver.Server{
		Version:    "2025.0.0",
		WebURLPath: "/",
		Endpoints:  []*messages.Endpoint{{Port: 8443, WebUrlPath: "/", Protocol: "HTTP"}},
	}
}

// New returns an empty, healthy server. A nil description means DefaultServer.
func New(server *driver.Server) *Driver {
	if server == nil {
		server = DefaultServer()
	}
	return &Driver{now: time.Now, server: server}
}

// SetFaults replaces the present faults.
func (d *Driver) SetFaults(f Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

// Put adds a session that nobody asked this driver for, as an administrator
// would with the dcv command.
func (d *Driver) Put(s *messages.DcvSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put(&session{facts: proto.CloneOf(s)})
}

// Vanish removes a session behind everybody's back and reports whether it was there.
func (d *Driver) Vanish(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, found := d.sessions[id]
	delete(d.sessions, id)
	return found
}

// Reset forgets all sessions, as a reboot of the host does.
func (d *Driver) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.sessions)
}

// Count returns the number of sessions, Creates the number of create calls so far.
func (d *Driver) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Has says whether a session is there, whatever goes wrong.
func (d *Driver) Has(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[id] != nil
}

// Creates returns how often Create was called.
func (d *Driver) Creates() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.creates
}

// Permissions returns what was last set for a session, nil if nothing was.
func (d *Driver) Permissions(id string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[id]; s != nil {
		return s.permissions
	}
	return nil
}

// Server implements driver.Driver.
func (d *Driver) Server(context.Context) (*driver.Server, error) { return d.server, nil }

// List implements driver.Driver. Sessions come in order of their ids.
func (d *Driver) List(ctx context.Context) ([]*messages.DcvSession, error) {
	if _, err := d.enter(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*messages.DcvSession, 0, len(d.sessions))
	for _, s := range d.sessions {
		list = append(list, proto.CloneOf(s.facts))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Id < list[j].Id })
	return list, nil
}

// Describe implements driver.Driver.
func (d *Driver) Describe(ctx context.Context, id string) (*messages.DcvSession, error) {
	if _, err := d.enter(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[id]
	if s == nil {
		return nil, fmt.Errorf("%w: %q", driver.ErrNotFound, id)
	}
	return proto.CloneOf(s.facts), nil
}

// Create implements driver.Driver.
func (d *Driver) Create(ctx context.Context, spec *messages.CreateSessionRequest) error {
	faults, err := d.enterCreate(ctx)
	if err != nil {
		return err
	}
	if err := wait(ctx, faults.StartDelay); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[spec.SessionId] != nil {
		return fmt.Errorf("%w: %q", driver.ErrExists, spec.SessionId)
	}
	d.put(&session{permissions: spec.PermissionsFile, facts: &messages.DcvSession{
		Id:           spec.SessionId,
		Owner:        spec.Owner,
		User:         spec.Owner,
		Name:         spec.Name,
		Type:         spec.Type,
		Status:       "created",
		StorageRoot:  spec.StorageRoot,
		CreationTime: d.now().UTC().Format(time.RFC3339Nano),
	}})
	if faults.LateStart {
		return fmt.Errorf("%w: create-session", driver.ErrTimeout)
	}
	return nil
}

// Close implements driver.Driver.
func (d *Driver) Close(ctx context.Context, id string) error {
	if _, err := d.enter(ctx); err != nil {
		return err
	}
	if !d.Vanish(id) {
		return fmt.Errorf("%w: %q", driver.ErrNotFound, id)
	}
	return nil
}

// SetPermissions implements driver.Driver.
func (d *Driver) SetPermissions(ctx context.Context, id string, file []byte) error {
	if _, err := d.enter(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[id]
	if s == nil {
		return fmt.Errorf("%w: %q", driver.ErrNotFound, id)
	}
	s.permissions = append([]byte{}, file...)
	return nil
}

// Screenshot implements driver.Driver: one small picture, real in its format.
func (d *Driver) Screenshot(ctx context.Context, shot driver.Shot) ([]*messages.ScreenshotImage, error) {
	if _, err := d.Describe(ctx, shot.SessionID); err != nil {
		return nil, err
	}
	data, err := picture(shot)
	if err != nil {
		return nil, err
	}
	return []*messages.ScreenshotImage{{
		Format:         shot.Format,
		Data:           data,
		CreationUnixMs: d.now().UnixMilli(),
		Primary:        true,
	}}, nil
}

func picture(shot driver.Shot) ([]byte, error) {
	width, height := side(shot.MaxWidth), side(shot.MaxHeight)
	img := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.Black, color.White})
	for i := range img.Pix {
		img.Pix[i] = uint8(i % 2)
	}
	var out bytes.Buffer
	var err error
	switch shot.Format {
	case "png":
		err = png.Encode(&out, img)
	case "jpeg":
		err = jpeg.Encode(&out, img, nil)
	default:
		err = fmt.Errorf("%w: screenshot format %q", driver.ErrUnsupported, shot.Format)
	}
	return out.Bytes(), err
}

// side keeps the picture small, and within what was asked for.
func side(limit int32) int {
	const largest = 16
	if limit <= 0 || limit > largest {
		return largest
	}
	return int(limit)
}

// put needs d.mu.
func (d *Driver) put(s *session) {
	if d.sessions == nil {
		d.sessions = make(map[string]*session)
	}
	d.sessions[s.facts.Id] = s
}

// enter applies the faults that hit every call and returns the rest.
func (d *Driver) enter(ctx context.Context) (Faults, error) {
	d.mu.Lock()
	faults := d.faults
	d.mu.Unlock()
	switch {
	case faults.Stall:
		<-ctx.Done()
		return faults, fmt.Errorf("%w: %w", driver.ErrTimeout, ctx.Err())
	case faults.Unhealthy:
		return faults, driver.ErrNotRunning
	}
	return faults, ctx.Err()
}

func (d *Driver) enterCreate(ctx context.Context) (Faults, error) {
	faults, err := d.enter(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.creates++
	switch {
	case err != nil:
		return faults, err
	case d.faults.NotRunning > 0:
		d.faults.NotRunning--
		return faults, driver.ErrNotRunning
	case d.faults.FailCreates > 0:
		d.faults.FailCreates--
		if d.faults.CreateError != nil {
			return faults, d.faults.CreateError
		}
		return faults, fmt.Errorf("%w: chosen by the caller", driver.ErrBadFile)
	}
	return faults, nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", driver.ErrTimeout, ctx.Err())
	}
}
