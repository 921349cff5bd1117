// Package audit writes the audit trail: who did what, from where, to what, and how it
// ended. It has one line for each administrative act, each refused authorization and
// each session or server that somebody asked to change, and for each token to connect
// that was given out or presented. A line never holds a secret.
package audit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"opensessionmanager/http/listen"
)

// Bounds of what strangers cause.
const (
	refusalsPerSecond = 50
	refusalsAtOnce    = 200
	// refusals in the operator's log are fewer: it is read by people.
	toldPerSecond = 10
	toldAtOnce    = 20
	// maxText bounds a text that came from outside, in bytes.
	maxText = 256
)

// Outcomes.
const (
	Done    = "done"
	Refused = "refused"
)

// Event is one line. Empty members are left out.
type Event struct {
	Act     string // as in createSessions, register-api-client or connect
	Outcome string // Done or Refused
	Code    string // stable code of a refusal
	Reason  string // for people

	Client     string // id of who asked
	ClientName string
	Issuer     string // the external authorization server that says so

	Session string
	Owner   string // of the session
	User    string // who is to connect
	Server  string
	Subject string // of an administrative act: what was changed
}

// Trail is where events go. Its methods may be called concurrently and never wait.
type Trail struct {
	trail *slog.Logger // nil: there is none
	log   *slog.Logger
	kept  *Bounded
	told  *Bounded
}

// New writes events to trail, nil for none, and refusals to log as well: no more than
// 50 a second and 10 a second, for a stranger must not fill a disk or push out what
// matters. A line says how many before it were left out.
func New(trail, log *slog.Logger) *Trail {
	return &Trail{trail: trail, log: log,
		kept: NewBounded(refusalsPerSecond, refusalsAtOnce), told: NewBounded(toldPerSecond, toldAtOnce)}
}

// Record writes the event of a request.
func (t *Trail) Record(rc *fasthttp.RequestCtx, e Event) {
	t.RecordFrom(Origin{RequestID: listen.RequestID(rc), Remote: remote(rc)}, e)
}

// Origin says where an event came from.
type Origin struct{ RequestID, Remote string }

// RecordFrom writes an event that has no request, or one that must not be touched.
func (t *Trail) RecordFrom(from Origin, e Event) {
	if t.trail == nil {
		return
	}
	level := slog.LevelInfo
	if e.Outcome == Refused {
		level = slog.LevelWarn
	}
	attrs := make([]slog.Attr, 0, 13)
	t.trail.LogAttrs(context.Background(), level, e.Act, e.attrs(from, attrs)...)
}

// Refuse writes about somebody who was sent away, into the trail and into the log,
// where text says what it was about. The path is added to what the event has.
func (t *Trail) Refuse(rc *fasthttp.RequestCtx, text string, e Event) {
	e.Outcome = Refused
	from := Origin{RequestID: listen.RequestID(rc), Remote: remote(rc)}
	if t.trail != nil {
		t.kept.Write(t.trail, slog.LevelWarn, e.Act, func() []slog.Attr { return e.attrs(from, []slog.Attr{path(rc)}) })
	}
	t.told.Write(t.log, slog.LevelWarn, text, func() []slog.Attr { return e.attrs(from, []slog.Attr{path(rc)}) })
}

// RefuseFrom is Refuse of what has no request, and leaves the log to the caller.
func (t *Trail) RefuseFrom(from Origin, e Event) {
	e.Outcome = Refused
	if t.trail != nil {
		t.kept.Write(t.trail, slog.LevelWarn, e.Act, func() []slog.Attr { return e.attrs(from, nil) })
	}
}

// Bounded writes lines that strangers cause, which must not fill a disk or push out
// what matters. Its methods may be called concurrently and never wait.
type Bounded struct {
	pace    *rate.Limiter
	skipped atomic.Int64
}

// NewBounded writes perSecond lines and, after a rest, atOnce.
func NewBounded(perSecond, atOnce int) *Bounded {
	return &Bounded{pace: rate.NewLimiter(rate.Limit(perSecond), atOnce)}
}

// Write writes a line, which says how many before it were left out, or leaves it out
// without asking for its attributes.
func (b *Bounded) Write(logger *slog.Logger, level slog.Level, text string, attrs func() []slog.Attr) {
	if !b.pace.Allow() {
		b.skipped.Add(1)
		return
	}
	all := attrs()
	if n := b.skipped.Swap(0); n > 0 {
		all = append(all, slog.Int64("suppressed", n))
	}
	logger.LogAttrs(context.Background(), level, text, all...)
}

func (e Event) attrs(from Origin, attrs []slog.Attr) []slog.Attr {
	for _, member := range [...]struct{ key, value string }{
		{"outcome", e.Outcome}, {"code", e.Code}, {"reason", e.Reason},
		{"client", e.Client}, {"client_name", e.ClientName}, {"issuer", e.Issuer}, {"remote", from.Remote}, {"request_id", from.RequestID},
		{"session", e.Session}, {"owner", e.Owner}, {"user", e.User}, {"server", e.Server}, {"subject", e.Subject},
	} {
		if member.value != "" {
			attrs = append(attrs, slog.String(member.key, Clip(member.value)))
		}
	}
	return attrs
}

func remote(rc *fasthttp.RequestCtx) string { return listen.RemoteText(rc) }

func path(rc *fasthttp.RequestCtx) slog.Attr {
	return slog.String("path", Clip(string(rc.Request.URI().PathOriginal())))
}

// Clip bounds a stranger's text for a line, without cutting a character.
func Clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
