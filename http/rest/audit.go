package rest

import (
	"log/slog"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// Who was refused and what was changed are for whoever has to find out afterwards: an
// answer's X-Request-Id leads to these lines.

// logUnauthorized writes who was not let in. Its reason holds nothing of the token.
func (s *Server) logUnauthorized(rc *fasthttp.RequestCtx, err error) {
	refusal := asRefusal(err)
	s.trail.Refuse(rc, "API request not authorized", audit.Event{Act: "authorize", Code: refusal.GetCode(), Reason: detailOf(refusal)})
}

// recordEvents writes what became of each item into the audit trail.
func (s *Server) recordEvents(rc *fasthttp.RequestCtx, c *call) {
	for i := range c.events {
		e := &c.events[i]
		e.Act, e.Client, e.ClientName, e.Issuer = string(c.op), c.principal.ClientID, c.principal.Name, c.principal.Issuer
		s.trail.Record(rc, *e)
	}
}

// recordItem keeps an item's event until the request is answered.
func (c *call) recordItem(e audit.Event, refusal *messages.Refusal) {
	e.Outcome = audit.Done
	if refusal != nil {
		e.Outcome, e.Code, e.Reason = audit.Refused, refusal.GetCode(), judge(c.op, refusal).text
	}
	c.events = append(c.events, e)
}

// logChange writes the line of a request that asked for a change.
func (s *Server) logChange(c *call, err error) {
	attrs := []slog.Attr{
		slog.String("request_id", string(c.requestID)),
		slog.String("client", c.principal.ClientID),
		slog.String("operation", string(c.op)),
		slog.Int("succeeded", c.items-len(c.failures)),
		slog.Int("failed", len(c.failures)),
	}
	if c.principal.Issuer != "" {
		attrs = append(attrs, slog.String("issuer", c.principal.Issuer))
	}
	if err != nil {
		attrs = append(attrs, slog.String("code", asRefusal(err).GetCode()))
	}
	s.log.LogAttrs(s.base, slog.LevelInfo, "change requested", attrs...)
}

func (op opName) changes() bool {
	switch op {
	case opCreateSessions, opDeleteSessions, opUpdatePermissions, opOpenServers, opCloseServers:
		return true
	}
	return false
}

// authorizationChanged refuses a request whose body was not asked for, because its
// token was not good when its header came, although it is now.
func authorizationChanged() error {
	return refuse(&messages.Refusal{Code: messages.CodeNotReady, Detail: "The authorization changed while the request arrived"})
}
