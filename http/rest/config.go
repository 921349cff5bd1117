package rest

import (
	"context"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"opensessionmanager/actors/roster"
	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// Fleet is what the API needs of the broker. All methods may be called by many
// goroutines at once; lists of results are as long as the lists asked, in their order.
type Fleet interface {
	// Snapshot is the newest picture of the fleet. It is refused while this broker
	// may be behind: an incomplete list would read as "deleted".
	Snapshot() (*roster.Snapshot, *messages.Refusal)
	CreateSessions(context.Context, []*messages.CreateSession) []*messages.SessionResult
	DeleteSessions(context.Context, []*messages.DeleteSession) []*messages.SessionResult
	UpdateSessionPermissions(context.Context, []*messages.UpdateSessionPermissions) []*messages.SessionResult
	TakeScreenshots(context.Context, []*messages.TakeScreenshot) []*messages.SessionResult
	OpenServers(context.Context, []*messages.OpenServer) []*messages.ServerResult
	CloseServers(context.Context, []*messages.CloseServer) []*messages.ServerResult
}

// Connections signs connection tokens (contract section 1.8).
type Connections interface {
	// SignConnection returns a token with which user may connect to the session
	// sessionID, which its DCV server knows as dcvSessionID and which belongs to owner.
	SignConnection(sessionID, dcvSessionID, owner, user string) (token string, err error)
}

// Config is everything a Server needs.
type Config struct {
	// Base ends when the broker stops; requests end with it. Nil is never.
	Base context.Context
	// Fleet is required.
	Fleet Fleet
	// Authorizer looks at every request of the nine operations first. Nil lets
	// everybody in (enable-authorization = false).
	Authorizer Authorizer
	// Connections is required.
	Connections Connections
	// TokenEndpoint answers POST /oauth2/token; nil: no such path.
	TokenEndpoint fasthttp.RequestHandler
	// JWKS answers GET /.well-known/jwks.json; nil: no such path.
	JWKS fasthttp.RequestHandler
	// Health answers GET /health with 200 or 503 and a JSON object. Nil is always ready.
	Health func() (ready bool, body []byte)
	// Logger is required.
	Logger *slog.Logger
	// Audit is told of refusals and changes; nil: there is only the log.
	Audit *audit.Trail
	// Secret authenticates page tokens and makes ids from Idempotency-Keys. All
	// brokers of a fleet must have the same one, and keep it; 32 bytes or more.
	// Empty: a random one, for a broker that is alone and forgets.
	Secret []byte
	// EnableAPIYAML serves the API description at GET /api.yaml.
	EnableAPIYAML bool
	// Options that are zero have the value of DefaultOptions.
	Options Options
}

// Options are the tunables of the client API. Tags name the broker's properties
// (contract section 6).
type Options struct {
	ScreenshotMaxWidth  int64  `prop:"session-screenshot-max-width" default:"160" doc:"Width of a screenshot in pixels, unless the request asks for another."`
	ScreenshotMaxHeight int64  `prop:"session-screenshot-max-height" default:"100" doc:"Height of a screenshot in pixels, unless the request asks for another."`
	ScreenshotFormat    string `prop:"session-screenshot-format" default:"png" doc:"Format of screenshots: png or jpeg."`

	AutorunMaxArguments      int `prop:"autorun-file-arguments-max-size" default:"50" doc:"How many arguments an autorun file may get."`
	AutorunMaxArgumentLength int `prop:"autorun-file-arguments-max-argument-length" default:"150" doc:"Characters of one such argument."`

	// RequestTimeout bounds what one request may wait for the fleet.
	RequestTimeout time.Duration
	// MaxBodySize bounds a request body in bytes; set fasthttp's MaxRequestBodySize to it too.
	MaxBodySize int
	// MaxItems bounds each list in a request.
	MaxItems int
	// MaxScreenshotAnswer bounds an answer with screenshots in bytes; what does
	// not fit fails item by item.
	MaxScreenshotAnswer int
	// ScreenshotBatch is how many screenshots of one request are taken at once.
	ScreenshotBatch int
}

// DefaultOptions are the vendor's defaults, and ours where it has none.
func DefaultOptions() Options {
	return Options{
		ScreenshotMaxWidth: 160, ScreenshotMaxHeight: 100, ScreenshotFormat: "png",
		AutorunMaxArguments: 50, AutorunMaxArgumentLength: 150,
		RequestTimeout: 30 * time.Second,
		MaxBodySize:    4 << 20, MaxItems: 1000,
		MaxScreenshotAnswer: 32 << 20, ScreenshotBatch: 25,
	}
}

func (o Options) withDefaults() Options {
	d := DefaultOptions()
	return Options{
		ScreenshotMaxWidth:       orDefault(o.ScreenshotMaxWidth, d.ScreenshotMaxWidth),
		ScreenshotMaxHeight:      orDefault(o.ScreenshotMaxHeight, d.ScreenshotMaxHeight),
		ScreenshotFormat:         orDefault(o.ScreenshotFormat, d.ScreenshotFormat),
		AutorunMaxArguments:      orDefault(o.AutorunMaxArguments, d.AutorunMaxArguments),
		AutorunMaxArgumentLength: orDefault(o.AutorunMaxArgumentLength, d.AutorunMaxArgumentLength),
		RequestTimeout:           orDefault(o.RequestTimeout, d.RequestTimeout),
		MaxBodySize:              orDefault(o.MaxBodySize, d.MaxBodySize),
		MaxItems:                 orDefault(o.MaxItems, d.MaxItems),
		MaxScreenshotAnswer:      orDefault(o.MaxScreenshotAnswer, d.MaxScreenshotAnswer),
		ScreenshotBatch:          orDefault(o.ScreenshotBatch, d.ScreenshotBatch),
	}
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
