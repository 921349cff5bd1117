package control

// Version is what `dcv version` says this host is.
const Version = "2024.0 (r19030)"

// NotRunning is what every command says when the server is down, after "Could
// not create session. " and the like (contract section 11).
const NotRunning = "The dcvserver service is not running."

// The commands of the vendor's `dcv` that a host answers, and three of our own.
const (
	CreateSession    = "create-session"
	CloseSession     = "close-session"
	ListSessions     = "list-sessions"
	DescribeSession  = "describe-session"
	ListConnections  = "list-connections"
	CloseConnection  = "close-connection"
	SetPermissions   = "set-permissions"
	GetScreenshot    = "get-screenshot"
	SetDisplayLayout = "set-display-layout"
	SetName          = "set-name"
	SetConfig        = "set-config"
	ListEndpoints    = "list-endpoints"

	InjectFault = "inject-fault"
	ClearFaults = "clear-faults"
	Status      = "status"
)

// Request is one command. Only the fields of that command are read.
type Request struct {
	Command     string             `json:"command"`
	Session     string             `json:"session,omitempty"`
	Create      *NewSession        `json:"create,omitempty"`
	Permissions *PermissionChange  `json:"permissions,omitempty"`
	Screenshot  *ScreenshotRequest `json:"screenshot,omitempty"`
	Connection  int                `json:"connection,omitempty"`
	Layout      string             `json:"layout,omitempty"`
	Name        string             `json:"name,omitempty"`
	Setting     *Setting           `json:"setting,omitempty"`
	Fault       *Fault             `json:"fault,omitempty"`
}

// NewSession is `dcv create-session` without the session ID.
type NewSession struct {
	Type  string `json:"type,omitempty"` // "console" or "virtual" (the default)
	Name  string `json:"name,omitempty"`
	Owner string `json:"owner,omitempty"`
	User  string `json:"user,omitempty"` // virtual only
	// Permissions is the text of the permissions file; nil means the default one.
	Permissions *string `json:"permissions,omitempty"`
	StorageRoot string  `json:"storage_root,omitempty"`
	GL          string  `json:"gl,omitempty"` // "on", "off" or not said
	GLDisplay   string  `json:"gl_display,omitempty"`
	// MaxConcurrentClients is at least 1; 0 means no limit.
	MaxConcurrentClients int `json:"max_concurrent_clients,omitempty"`
	// Init is the absolute path of the script that starts the desktop.
	Init string `json:"init,omitempty"`
	// Caller is the operating system user who ran the command: the owner if
	// nobody else is named.
	Caller string `json:"caller,omitempty"`
}

// PermissionChange is `dcv set-permissions`. An empty file revokes everything.
type PermissionChange struct {
	Reset bool   `json:"reset,omitempty"`
	File  string `json:"file,omitempty"`
}

// ScreenshotRequest is `dcv get-screenshot`. Sizes are pixels, 0 means no limit.
type ScreenshotRequest struct {
	MaxWidth  int    `json:"max_width,omitempty"`
	MaxHeight int    `json:"max_height,omitempty"`
	Format    string `json:"format,omitempty"` // "png" (the default) or "jpeg"
	Primary   bool   `json:"primary,omitempty"`
}

// Setting is `dcv set-config`.
type Setting struct {
	Section string `json:"section"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// Answer is what comes back. Error is a sentence for people, complete with
// "Could not ...", and excludes the rest.
type Answer struct {
	Error string `json:"error,omitempty"`
	// Garbage is set by the fault of that name: the command prints nonsense of
	// this form instead of its result.
	Garbage     string       `json:"garbage,omitempty"`
	Sessions    []Session    `json:"sessions,omitempty"`
	Connections []Connection `json:"connections,omitempty"`
	Endpoints   []Endpoint   `json:"endpoints,omitempty"`
	Image       *Image       `json:"image,omitempty"`
	Status      *HostStatus  `json:"status,omitempty"`
}

// Session is a session as `dcv describe-session --json` prints it.
type Session struct {
	ID                    string    `json:"id"`
	Owner                 string    `json:"owner"`
	User                  string    `json:"user"`
	Name                  string    `json:"name"`
	NumOfConnections      int       `json:"num-of-connections"`
	CreationTime          string    `json:"creation-time"`
	LastDisconnectionTime string    `json:"last-disconnection-time"` // "" if never
	LicensingMode         string    `json:"licensing-mode"`
	Licenses              []License `json:"licenses"`
	StorageRoot           string    `json:"storage-root"`
	Type                  string    `json:"type"`
	Status                string    `json:"status"`
	X11Display            string    `json:"x11-display"`
	X11Authority          string    `json:"x11-authority"`
	DisplayLayout         []Display `json:"display-layout"`
}

// License is one licence of a session.
type License struct {
	Product        string `json:"product"`
	Status         string `json:"status"`
	CheckTimestamp string `json:"check-timestamp"`
	ExpirationDate string `json:"expiration-date"`
}

// Display is one screen of a session, in pixels; X and Y say where its upper
// left corner is, relative to the first.
type Display struct {
	Width  int `json:"width"`
	Height int `json:"height"`
	X      int `json:"x"`
	Y      int `json:"y"`
}

// Connection is one client as `dcv list-connections --json` prints it.
type Connection struct {
	ID                  int    `json:"id"`
	Username            string `json:"username"`
	UserAgent           string `json:"user-agent"`
	ClientMode          string `json:"client-mode"`
	ClientAddress       string `json:"client-address"` // "ip:port"
	ConnectionTime      string `json:"connection-time"`
	LastInteractionTime string `json:"last-interaction-time"`
	FirstFrameTime      string `json:"first-frame-time"`
	Transport           string `json:"transport"`
}

// Endpoint is one listener as `dcv list-endpoints --json` prints it.
type Endpoint struct {
	IPAddress   string `json:"ip-address"`
	Port        int    `json:"port"`
	Protocol    string `json:"protocol"`
	WebURLPath  string `json:"web-url-path"`
	Fingerprint string `json:"certificate-fingerprint,omitempty"` // SHA-256, hexadecimal
}

// Image is a screenshot as `dcv get-screenshot --json` prints it.
type Image struct {
	Format string `json:"format"` // "png" or "jpeg"
	Base64 []byte `json:"base64"`
}

// HostStatus is for `dcv-devserver status`.
type HostStatus struct {
	Name        string            `json:"name"`
	Running     bool              `json:"running"`
	Port        int               `json:"port"`
	Sessions    int               `json:"sessions"`
	Connections int               `json:"connections"`
	Faults      []Fault           `json:"faults"`
	Settings    map[string]string `json:"settings,omitempty"`
}
