package oauth

import (
	"encoding/xml"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/audit"
)

// verdict is the answer of an external authenticator of DCV (contract section 11).
type verdict struct {
	XMLName  xml.Name `xml:"auth"`
	Result   string   `xml:"result,attr"`
	Username string   `xml:"username,omitempty"`
	Message  string   `xml:"message,omitempty"`
}

// attempt is what a DCV server tells of a client that wants in.
type attempt struct{ session, token, address string }

// ValidateHandler is POST /agent/validate-authentication-token of the agent
// port. DCV servers ask it about every client that connects; they have no
// credentials of their own. The status is always 200, as DCV demands, and every
// no is logged (F34), as far as the audit trail does.
func (s *Server) ValidateHandler() fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		tried := parseAttempt(rc)
		user, reason, ok := s.validate(tried)
		v := verdict{Result: "yes", Username: user}
		event := audit.Event{Act: "connect", Session: tried.session, User: user, Subject: tried.address, Outcome: audit.Done}
		if ok {
			s.trail.Record(rc, event)
		} else {
			v = verdict{Result: "no", Message: reason}
			event.Reason = reason
			s.trail.Refuse(rc, "connection to a session refused", event)
		}
		body, err := xml.Marshal(v)
		if err != nil { // our own type always encodes
			body = []byte(`<auth result="no"><message>Internal error</message></auth>`)
		}
		rc.SetContentType("text/xml; charset=utf-8")
		rc.Response.Header.Set("Cache-Control", "no-store")
		rc.SetBody(body)
	}
}

func (s *Server) validate(a attempt) (user, reason string, ok bool) {
	if a.session == "" || a.token == "" {
		return "", "sessionId or authenticationToken is missing", false
	}
	return s.ValidateConnection(a.token, a.session)
}

// parseAttempt reads the form whatever its content type says; unknown fields
// are ignored. What is no form of a bearable size comes out empty.
func parseAttempt(rc *fasthttp.RequestCtx) attempt {
	body := rc.PostBody()
	if !rc.IsPost() || len(body) > maxForm {
		return attempt{}
	}
	var form fasthttp.Args
	form.ParseBytes(body)
	return attempt{
		session: string(form.Peek("sessionId")),
		token:   string(form.Peek("authenticationToken")),
		address: string(form.Peek("clientAddress")),
	}
}
