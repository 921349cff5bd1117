package rest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"opensessionmanager/messages"
)

// maxDepth is the deepest nesting a request may have; the API needs four.
const maxDepth = 8

// maxProblemText bounds a text that may quote the request, in bytes.
const maxProblemText = 400

// decode reads one JSON text into in. Names are matched exactly, and unknown
// members, repeated names, invalid UTF-8 and trailing bytes are refused: two
// readers of one request must never understand different things. Depth and
// element counts are checked first, so that a hostile body costs one pass and
// no memory.
func decode(body []byte, in any, maxItems int, strict json.Options) error {
	if err := outline(body, maxItems); err != nil {
		return err
	}
	if err := json.Unmarshal(body, in, strict); err != nil {
		return jsonProblem(err)
	}
	return nil
}

// outline walks over the body without understanding it and refuses nesting
// beyond maxDepth and arrays beyond maxItems. It may be lenient with what is not
// JSON; the decoder is not.
func outline(body []byte, maxItems int) error {
	var commas [maxDepth + 1]int
	var isArray [maxDepth + 1]bool
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = stringEnd(body, i)
		case '[', '{':
			depth++
			if depth > maxDepth {
				return invalid(fmt.Sprintf("Invalid JSON at byte %d: nested deeper than %d levels", i, maxDepth))
			}
			commas[depth], isArray[depth] = 0, body[i] == '['
		case ']', '}':
			depth = max(depth-1, 0)
		case ',':
			commas[depth]++
			if isArray[depth] && commas[depth] >= maxItems {
				return invalid(fmt.Sprintf("Too many items at byte %d: a list may have at most %d", i, maxItems))
			}
		}
	}
	return nil
}

// stringEnd returns the index of the quote that ends the string starting at i.
func stringEnd(body []byte, i int) int {
	for i++; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return i
}

// jsonProblem says what is wrong, with which member, and where.
func jsonProblem(err error) error {
	if unknown, ok := errors.AsType[*json.SemanticError](err); ok {
		if errors.Is(unknown.Err, json.ErrUnknownName) {
			// The beginning is the vendor's text, which clients look for (contract 1.1).
			name := shorten(unknown.JSONPointer.LastToken(), 100)
			return invalid(fmt.Sprintf(`Unrecognized field "%s" at byte %d`, name, unknown.ByteOffset))
		}
		return invalid(typeProblem(unknown))
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return invalid(fmt.Sprintf("Invalid JSON at byte %d%s: %s", syntax.ByteOffset, place(syntax.JSONPointer), syntax.Err))
	}
	return invalid("Invalid JSON")
}

func typeProblem(err *json.SemanticError) string {
	where := "The request body"
	if field := fieldName(err.JSONPointer); field != "" {
		where = fmt.Sprintf("Field %q", shorten(field, 100))
	}
	where += fmt.Sprintf("%s (byte %d): ", place(err.JSONPointer), err.ByteOffset)
	if err.JSONKind == jsontext.KindNumber && len(err.JSONValue) > 0 {
		return where + "expected " + expectation(err.GoType) + ", found " + shorten(string(err.JSONValue), 50)
	}
	return where + "expected " + expectation(err.GoType) + ", found " + kindName(err.JSONKind)
}

// fieldName is the last part of the pointer that is not an index.
func fieldName(p jsontext.Pointer) (name string) {
	for token := range p.Tokens() {
		if token == "" || token[0] < '0' || token[0] > '9' {
			name = token
		}
	}
	return name
}

func place(p jsontext.Pointer) string {
	if p == "" {
		return ""
	}
	return " at " + shorten(string(p), 100)
}

func expectation(t reflect.Type) string {
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return expectation(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "an integer of 64 bits"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindBeginObject:
		return "an object"
	default:
		return "something else"
	}
}

// invalid refuses the whole request as badly formed.
func invalid(text string) error {
	return refuse(&messages.Refusal{Code: messages.CodeInvalid, Text: shorten(text, maxProblemText)})
}

// shorten bounds text in bytes without cutting a character in two.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}
