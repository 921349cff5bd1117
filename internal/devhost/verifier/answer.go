package verifier

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxUsername = 256 // bytes
	maxMessage  = 512 // bytes
	maxTokens   = 256 // of the XML document
)

// ErrAnswer reports a document that is neither yes nor no.
var ErrAnswer = errors.New("verifier: bad answer")

// ParseAnswer reads `<auth result="yes"><username>NAME</username></auth>` and
// returns NAME, or an ErrRefused with the message of
// `<auth result="no"><message>WHY</message></auth>`. Elements it does not know
// are skipped, everything else that differs is an ErrAnswer: a host that lets
// people in had better be strict.
func ParseAnswer(document []byte) (string, error) {
	if len(document) > maxAnswer {
		return "", fmt.Errorf("%w: larger than %d bytes", ErrAnswer, maxAnswer)
	}
	var a answer
	d := xml.NewDecoder(bytes.NewReader(document))
	for range maxTokens {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return a.verdict()
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if err := a.read(token); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: too many parts", ErrAnswer)
}

// answer gathers the document; path holds the names of the open elements.
type answer struct {
	path     []string
	roots    int
	result   string
	username text
	message  text
}

type text struct {
	seen  int
	value strings.Builder
}

func (a *answer) read(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		return a.open(t)
	case xml.EndElement:
		a.path = a.path[:len(a.path)-1] // the decoder has checked that names match
	case xml.CharData:
		switch strings.Join(a.path, "/") {
		case "auth/username":
			a.username.value.Write(t)
		case "auth/message":
			a.message.value.Write(t)
		}
	case xml.Directive:
		return fmt.Errorf("%w: a document type is not allowed", ErrAnswer)
	}
	return nil
}

func (a *answer) open(t xml.StartElement) error {
	a.path = append(a.path, t.Name.Local)
	switch strings.Join(a.path, "/") {
	case "auth":
		a.roots++
		for _, attr := range t.Attr {
			if attr.Name.Local == "result" {
				a.result = attr.Value
			}
		}
	case "auth/username":
		a.username.seen++
	case "auth/message":
		a.message.seen++
	}
	return nil
}

func (a *answer) verdict() (string, error) {
	if a.roots != 1 {
		return "", fmt.Errorf("%w: want one <auth> element", ErrAnswer)
	}
	switch a.result {
	case "no":
		return "", Refusal{readable(a.message.value.String())}
	case "yes":
	default:
		return "", fmt.Errorf("%w: result is neither yes nor no", ErrAnswer)
	}
	name := strings.TrimSpace(a.username.value.String())
	if a.username.seen != 1 || name == "" || len(name) > maxUsername || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, unicode.IsControl) {
		return "", fmt.Errorf("%w: want one username of 1 to %d printable bytes", ErrAnswer, maxUsername)
	}
	return name, nil
}

// readable bounds a message that is going to be shown.
func readable(message string) string {
	message = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, message))
	if message == "" {
		return "no reason given"
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return message
}
