// Package admin is the broker's end of the admin commands: JSON over HTTPS on a
// port of its own, loopback by default (cli-to-broker-port). Whoever presents the
// credential from the broker's working path may do everything here; nobody else
// gets past a 401.
package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"opensessionmanager/http/admin/adminclient"
	"opensessionmanager/http/audit"
	"opensessionmanager/http/dnsmapping"
	"opensessionmanager/http/listen"
	"opensessionmanager/http/oauth"
	"opensessionmanager/http/oauth/authserver"
)

// MaxBodyBytes bounds a command's request; the port need not take more. A file of DNS
// mappings is the largest.
const MaxBodyBytes = dnsmapping.MaxBytes + 64<<10

// commandTimeout bounds the work of a command.
const commandTimeout = 20 * time.Second

// Codes of the header X-Error-Code.
const (
	codeUnauthorized = "UNAUTHORIZED"
	codeNoCommand    = "UNKNOWN_COMMAND"
	codeMethod       = "METHOD_NOT_ALLOWED"
	codeInvalid      = "INVALID_REQUEST"
	codeTaken        = "NAME_TAKEN"
	codeNotFound     = "NOT_FOUND"
	codeTooMany      = "TOO_MANY"
	codeUnavailable  = "UNAVAILABLE"
)

// Config is what the endpoint needs; every field but Audit is required.
type Config struct {
	Credential    string // see Credential
	OAuth         *oauth.Server
	DNSMappings   *dnsmapping.Mappings
	BrokerVersion string // named in software statements
	// Authority is the certificate that signs those of the agent port, for enrolment tokens.
	Authority func() (*x509.Certificate, error)
	Logger    *slog.Logger
	Audit     *audit.Trail // nil: there is only the log
}

// errBody: the request is not the JSON object that the command takes.
var errBody = errors.New("admin: the request is not what this command takes")

// Handler serves POST /admin/v1/<command>.
func Handler(cfg Config) fasthttp.RequestHandler {
	if cfg.Audit == nil {
		cfg.Audit = audit.New(nil, cfg.Logger)
	}
	commands := table(cfg)
	expected := sha256.Sum256([]byte("Bearer " + cfg.Credential))
	return func(rc *fasthttp.RequestCtx) {
		given := sha256.Sum256(rc.Request.Header.Peek("Authorization"))
		if cfg.Credential == "" || subtle.ConstantTimeCompare(given[:], expected[:]) == 0 {
			cfg.Audit.Refuse(rc, "admin command without the credential", audit.Event{Act: "admin", Code: codeUnauthorized})
			listen.Fail(rc, fasthttp.StatusUnauthorized, codeUnauthorized, "The admin credential is missing or wrong")
			rc.Response.Header.Set("WWW-Authenticate", "Bearer")
			return
		}
		name, _ := strings.CutPrefix(string(rc.Path()), adminclient.PathPrefix)
		run, known := commands[name]
		switch {
		case !known:
			listen.Fail(rc, fasthttp.StatusNotFound, codeNoCommand, "Unknown command")
		case !rc.IsPost():
			listen.Fail(rc, fasthttp.StatusMethodNotAllowed, codeMethod, "Only POST is allowed")
			rc.Response.Header.Set("Allow", "POST")
		default:
			perform(rc, cfg, name, run)
		}
	}
}

// performed is what came of a command: what is to be encoded, and what it was about,
// which may be read by whoever reads the audit trail.
type performed struct {
	out     any
	subject string
}

// command takes a request body.
type command func(ctx context.Context, body []byte) (performed, error)

func perform(rc *fasthttp.RequestCtx, cfg Config, name string, run command) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	logger := cfg.Logger
	done, err := run(ctx, rc.PostBody())
	event := audit.Event{Act: name, Outcome: audit.Done, Client: "administrator", ClientName: operator(rc), Subject: done.subject}
	if err != nil {
		event.Outcome, event.Reason = audit.Refused, plain(err)
	}
	cfg.Audit.Record(rc, event)
	if err != nil {
		logger.Warn("admin command failed", slog.String("command", name), slog.Any("error", err))
		fail(rc, err)
		return
	}
	data, err := json.Marshal(done.out)
	if err != nil {
		logger.Error("admin answer cannot be encoded", slog.String("command", name), slog.Any("error", err))
		listen.Fail(rc, fasthttp.StatusInternalServerError, listen.CodeInternal, "Internal error")
		return
	}
	logger.Info("admin command done", slog.String("command", name))
	rc.SetContentType("application/json")
	rc.Response.Header.Set("Cache-Control", "no-store")
	rc.SetBody(data)
}

// operator is the account that says it typed the command. Whoever has the credential may
// say anything; it is for finding out who it was, not for deciding.
func operator(rc *fasthttp.RequestCtx) string {
	return string(rc.Request.Header.Peek(adminclient.OperatorHeader))
}

// fail maps errors to answers. An administrator may see the store's.
func fail(rc *fasthttp.RequestCtx, err error) {
	for _, known := range []struct {
		err    error
		status int
		code   string
	}{
		{errBody, fasthttp.StatusBadRequest, codeInvalid},
		{errOverlap, fasthttp.StatusBadRequest, codeInvalid},
		{oauth.ErrInactive, fasthttp.StatusConflict, codeInvalid},
		{dnsmapping.ErrFile, fasthttp.StatusBadRequest, codeInvalid},
		{oauth.ErrName, fasthttp.StatusBadRequest, codeInvalid},
		{oauth.ErrNameTaken, fasthttp.StatusConflict, codeTaken},
		{oauth.ErrUnknownClient, fasthttp.StatusNotFound, codeNotFound},
		{oauth.ErrUnknownStatement, fasthttp.StatusNotFound, codeNotFound},
		{oauth.ErrUnknownAuthServer, fasthttp.StatusNotFound, codeNotFound},
		{authserver.ErrInvalid, fasthttp.StatusBadRequest, codeInvalid},
		{oauth.ErrTooManyAuthServers, fasthttp.StatusConflict, codeTooMany},
		{oauth.ErrUnknownEnrolment, fasthttp.StatusNotFound, codeNotFound},
		{oauth.ErrEnrolmentBounds, fasthttp.StatusBadRequest, codeInvalid},
		{oauth.ErrTooManyEnrolments, fasthttp.StatusConflict, codeTooMany},
		{oauth.ErrTooManyKeys, fasthttp.StatusConflict, codeTooMany},
	} {
		if errors.Is(err, known.err) {
			listen.Fail(rc, known.status, known.code, plain(err))
			return
		}
	}
	listen.Fail(rc, fasthttp.StatusServiceUnavailable, codeUnavailable, "The broker cannot do this now: "+plain(err))
}

// plain drops the name of the package in front of an error, which means nothing
// to who typed a command.
func plain(err error) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, ": "); ok {
		return rest
	}
	return text
}

// decode reads a request strictly: a misspelt property is an error.
func decode[In any](body []byte) (in In, err error) {
	if len(body) > MaxBodyBytes {
		return in, errBody
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&in) != nil {
		return in, errBody
	}
	if _, err := decoder.Token(); err != io.EOF {
		return in, errBody
	}
	return in, nil
}
