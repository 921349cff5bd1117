package oauth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"opensessionmanager/persistence"
)

const kindStatement = "software-statement"

// maxStatement bounds a presented statement in bytes; ours have about 230.
const maxStatement = 4096

// ErrUnknownStatement: no such software statement was generated here.
var ErrUnknownStatement = errors.New("oauth: unknown software statement")

// Statement is a software statement as an administrator sees it. Text is what
// agents present: a shared secret, since the vendor's format has no signature.
type Statement struct {
	Text     string    `json:"software-statement"`
	IssuedAt time.Time `json:"issued-at"`
	Active   bool      `json:"active"`
}

// Statements are the software statements with which agents may register. They
// are read from the store each time: registrations are rare and must be refused
// by every broker as soon as a statement is deactivated.
type Statements struct {
	shelf shelf[Statement]
	now   func() time.Time
}

// NewStatements keeps statements in store.
func NewStatements(store persistence.Store, now func() time.Time) *Statements {
	return &Statements{shelf[Statement]{store, kindStatement}, now}
}

// Generate makes a statement that names the version of this broker.
func (s *Statements) Generate(ctx context.Context, brokerVersion string) (string, error) {
	id, issued := uuid.NewString(), s.now().UTC()
	text, err := encodeStatement(id, issued, brokerVersion)
	if err != nil {
		return "", err
	}
	if _, err := s.shelf.create(ctx, id, Statement{Text: text, IssuedAt: issued, Active: true}); err != nil {
		return "", err
	}
	return text, nil
}

// Describe lists all statements.
func (s *Statements) Describe(ctx context.Context) ([]Statement, error) {
	all, err := s.shelf.all(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Statement, len(all))
	for i, k := range all {
		list[i] = k.Value
	}
	return list, nil
}

// Deactivate stops new registrations with a statement and returns its id; agents that
// registered with it stay. ErrUnknownStatement if it is not one of ours.
func (s *Statements) Deactivate(ctx context.Context, text string) (id string, err error) {
	found, err := s.find(ctx, text)
	if err != nil {
		return "", err
	}
	_, err = s.shelf.change(ctx, found.ID, func(v *Statement) { v.Active = false })
	return found.ID, err
}

// accepts returns the id of the statement if an agent may register with text, else "".
func (s *Statements) accepts(ctx context.Context, text string) (id string, err error) {
	found, err := s.find(ctx, text)
	if errors.Is(err, ErrUnknownStatement) {
		return "", nil
	}
	if err != nil || !found.Value.Active {
		return "", err
	}
	return found.ID, nil
}

func (s *Statements) find(ctx context.Context, text string) (kept[Statement], error) {
	text = strings.TrimSpace(text) // a file often ends in a newline
	id, ok := statementID(text)
	if !ok {
		return kept[Statement]{}, ErrUnknownStatement
	}
	k, err := s.shelf.load(ctx, id)
	if errors.Is(err, persistence.ErrNotFound) {
		return k, ErrUnknownStatement
	}
	if err == nil && subtle.ConstantTimeCompare([]byte(k.Value.Text), []byte(text)) == 0 {
		return kept[Statement]{}, ErrUnknownStatement
	}
	return k, err
}

// encodeStatement writes the vendor's form: base64 of pretty-printed JSON with
// the time in seconds and nine decimals (contract section 2).
func encodeStatement(id string, issued time.Time, version string) (string, error) {
	quoted, err := json.Marshal(version)
	if err != nil {
		return "", fmt.Errorf("oauth: encode software statement: %w", err)
	}
	text := fmt.Sprintf("{\n  \"id\" : %q,\n  \"active\" : true,\n  \"issuedAt\" : %d.%09d,\n  \"brokerVersion\" : %s\n}",
		id, issued.Unix(), issued.Nanosecond(), quoted)
	return base64.StdEncoding.EncodeToString([]byte(text)), nil
}

func statementID(text string) (string, bool) {
	if len(text) > maxStatement {
		return "", false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", false
	}
	var fields struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &fields) != nil || uuid.Validate(fields.ID) != nil {
		return "", false
	}
	return fields.ID, true
}
