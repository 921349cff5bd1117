package listen

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"
)

// Bounds of a RefusalLog.
const (
	refusalsPerSecond = 10
	refusalsAtOnce    = 20
)

// RefusalLog writes a line about everybody who was sent away, for the auditor, but no
// more than ten a second: a stranger must not be able to fill the disk. A line says
// how many before it were left out. Its methods may be called concurrently.
type RefusalLog struct {
	logger  *slog.Logger
	pace    *rate.Limiter
	skipped atomic.Int64
}

// NewRefusalLog writes to logger, at the level of a warning.
func NewRefusalLog(logger *slog.Logger) *RefusalLog {
	return &RefusalLog{logger: logger, pace: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
}

// Refused writes a line about a request. What the client sent does not belong into
// attrs unless it is bounded and no secret.
func (l *RefusalLog) Refused(rc *fasthttp.RequestCtx, text string, attrs ...slog.Attr) {
	if !l.pace.Allow() {
		l.skipped.Add(1)
		return
	}
	path := rc.Request.URI().PathOriginal()
	attrs = append([]slog.Attr{
		slog.String("request_id", RequestID(rc)),
		Remote(rc),
		slog.String("path", string(path[:min(len(path), maxLoggedPath)])),
	}, attrs...)
	if n := l.skipped.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	l.logger.LogAttrs(context.Background(), slog.LevelWarn, text, attrs...)
}

// maxLoggedPath bounds what a line repeats of a path, in bytes.
const maxLoggedPath = 200

// RequestID is the id of a request, which its answer carries; it gets one if it has none.
func RequestID(rc *fasthttp.RequestCtx) string {
	id := string(rc.Response.Header.Peek(headerRequestID))
	if id == "" {
		id = uuid.NewString()
		rc.Response.Header.Set(headerRequestID, id)
	}
	return id
}
