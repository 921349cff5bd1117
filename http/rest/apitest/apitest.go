// Package apitest holds answers of the client API to its own description. Clients
// generated from that description refuse what it does not name, so every answer a
// test sees, good or bad, should pass here.
package apitest

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"

	"opensessionmanager/http/rest/openapi"
)

// ErrAnswer: an answer is not what the description promises.
var ErrAnswer = errors.New("apitest: answer does not match the API description")

// Checker knows the description. It may be used by many goroutines.
type Checker struct{ doc *openapi3.T }

// New reads the description; an error means that it is not valid itself.
func New() (*Checker, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(openapi.YAML()))
	if err != nil {
		return nil, fmt.Errorf("apitest: read the API description: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("apitest: the API description is not valid: %w", err)
	}
	return &Checker{doc}, nil
}

// Check holds one answer to the description: its status, content type, body and
// the headers the description names. path is that of the request, without query.
// Paths and methods that are not described must be refused as such.
func (c *Checker) Check(method, path string, status int, header http.Header, body []byte) error {
	response, err := c.response(method, path, status)
	if err != nil {
		return err
	}
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind != "application/json" {
		return fmt.Errorf("%w: %s %s %d: content type %q", ErrAnswer, method, path, status, header.Get("Content-Type"))
	}
	if err := checkBody(response, body); err != nil {
		return fmt.Errorf("%w: %s %s %d: %w\n%.2000s", ErrAnswer, method, path, status, err, body)
	}
	for name, described := range response.Headers {
		value := header.Get(name)
		if value == "" && !always(name, status) {
			continue
		}
		if err := checkHeader(described.Value, value); err != nil {
			return fmt.Errorf("%w: %s %s %d: header %s: %w", ErrAnswer, method, path, status, name, err)
		}
	}
	return nil
}

// always says which headers must be there.
func always(name string, status int) bool {
	return name == "X-Request-Id" || name == "X-Error-Code" && status != http.StatusOK
}

// response finds what the description says about an answer.
func (c *Checker) response(method, path string, status int) (*openapi3.Response, error) {
	item := c.doc.Paths.Value(path)
	if item == nil && strings.HasPrefix(path, "/sessionConnectionData/") {
		item = c.doc.Paths.Value("/sessionConnectionData/{sessionId}/{user}")
	}
	var operation *openapi3.Operation
	if item != nil {
		operation = item.GetOperation(method)
	}
	if operation == nil {
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			return nil, fmt.Errorf("%w: %s %s is not described, yet answered %d", ErrAnswer, method, path, status)
		}
		return c.doc.Components.Responses["Refused"].Value, nil
	}
	if described := operation.Responses.Status(status); described != nil {
		return described.Value, nil
	}
	if described := operation.Responses.Default(); described != nil && status >= http.StatusBadRequest {
		return described.Value, nil
	}
	return nil, fmt.Errorf("%w: %s %s: status %d is not described", ErrAnswer, method, path, status)
}

func checkBody(response *openapi3.Response, body []byte) error {
	var value any // repeated names and invalid UTF-8 are errors
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	schema := response.Content.Get("application/json").Schema.Value
	return schema.VisitJSON(value, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation())
}

func checkHeader(described *openapi3.Header, text string) error {
	schema := described.Schema.Value
	if !schema.Type.Is(openapi3.TypeInteger) {
		return schema.VisitJSON(text)
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return schema.VisitJSON(value)
}
