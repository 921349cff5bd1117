package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
)

// printJSON writes an answer as the vendor's program does: the snake_case names of
// the generated Python client, null for what is unset, indented by four, ASCII only.
func printJSON(w io.Writer, answer any) error {
	compact, err := appendJSON(nil, reflect.ValueOf(answer))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "    "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

func appendJSON(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendJSON(b, v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendList(b, v)
	case reflect.Struct:
		b, _, err := appendMembers(append(b, '{'), v, true)
		return append(b, '}'), err
	case reflect.String:
		return appendString(b, v.String()), nil
	default:
		plain, err := json.Marshal(v.Interface())
		return append(b, plain...), err
	}
}

func appendList(b []byte, v reflect.Value) (_ []byte, err error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendMembers writes the fields of a struct; those of an embedded one stand in its place.
func appendMembers(b []byte, v reflect.Value, first bool) (_ []byte, stillFirst bool, err error) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("out") == "-" {
			continue
		}
		if field.Anonymous {
			if b, first, err = appendMembers(b, v.Field(i), first); err != nil {
				return nil, false, err
			}
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, snake(wireName(field))), ':')
		if b, err = appendJSON(b, v.Field(i)); err != nil {
			return nil, false, err
		}
	}
	return b, first, nil
}

func wireName(field reflect.StructField) string {
	if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
		return name
	}
	return field.Name
}

// snake turns UpperCamelCase into the snake_case of the Python generator:
// EC2InstanceType becomes ec2_instance_type.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		previous := rune(0)
		if i > 0 {
			previous = rune(name[i-1])
		}
		if unicode.IsUpper(r) && (unicode.IsLower(previous) || unicode.IsDigit(previous)) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// appendString writes a JSON string in ASCII, so that nothing reaches the terminal raw.
func appendString(b []byte, text string) []byte {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return append(b, `""`...) // a string always encodes
	}
	for _, r := range strings.TrimSuffix(encoded.String(), "\n") {
		switch {
		case r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// printable makes text from outside fit for a terminal. Line breaks stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
