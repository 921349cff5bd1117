package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// option is one key: what its tags say, and the field that holds its value.
type option struct {
	key, def, doc, status, group string
	oneof                        []string
	min, max                     int // bounds of a number; both 0: none
	unit                         time.Duration
	field                        reflect.Value
	line                         int // where the file sets it; 0: not set
}

const (
	statusIgnored    = "ignored"
	statusDeprecated = "deprecated"
	statusLater      = "later"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
	pathType     = reflect.TypeFor[Path]()
)

// options lists the keys of cfg in the order of their fields.
func options(cfg *Config) []*option {
	var all []*option
	root := reflect.ValueOf(cfg).Elem()
	for i := range root.NumField() {
		group := root.Type().Field(i).Tag.Get("group")
		if group == "" {
			continue
		}
		for j := range root.Field(i).NumField() {
			all = append(all, newOption(group, root.Field(i).Type().Field(j), root.Field(i).Field(j)))
		}
	}
	return all
}

func newOption(group string, f reflect.StructField, field reflect.Value) *option {
	o := &option{
		key: f.Tag.Get("prop"), def: f.Tag.Get("default"), doc: f.Tag.Get("doc"),
		status: f.Tag.Get("status"), group: group, field: field,
	}
	if words := f.Tag.Get("oneof"); words != "" {
		o.oneof = strings.Split(words, ",")
	}
	if low, high, ok := strings.Cut(f.Tag.Get("range"), ".."); ok {
		o.min, _ = strconv.Atoi(low) // a test reads every tag
		o.max, _ = strconv.Atoi(high)
	}
	if f.Type == durationType {
		o.unit = unitOf(o.key)
	}
	return o
}

// unitOf reads the unit in a key's name: "...-minutes", "seconds-before-...".
func unitOf(key string) time.Duration {
	switch {
	case strings.HasSuffix(key, "-hours"):
		return time.Hour
	case strings.HasSuffix(key, "-minutes"):
		return time.Minute
	default:
		return time.Second
	}
}

// set gives the field the value that text spells. The error says what is wrong
// with the value, the fix what is right; neither repeats a secret.
func (o *option) set(text string) (fix string, err error) {
	if text == "" && o.def == "" {
		o.field.SetZero()
		return "", nil
	}
	switch {
	case o.field.Type() == secretType, o.field.Type() == pathType:
		o.field.SetString(text)
	case o.field.Kind() == reflect.Bool:
		return o.setBool(text)
	case o.field.Kind() == reflect.Slice:
		list := splitList(text)
		if len(list) == 0 { // a template whose variables are not set
			return "write values between the commas, or remove the line", fmt.Errorf("%s names nothing", quote(text))
		}
		o.field.Set(reflect.ValueOf(list))
	case o.field.CanInt():
		return o.setNumber(text)
	default:
		return o.setWord(text)
	}
	return "", nil
}

func (o *option) setBool(text string) (string, error) {
	switch strings.ToLower(text) {
	case "true":
		o.field.SetBool(true)
	case "false":
		o.field.SetBool(false)
	default:
		return "write true or false", fmt.Errorf("%s is neither true nor false", quote(text))
	}
	return "", nil
}

func (o *option) setNumber(text string) (string, error) {
	fix := fmt.Sprintf("write a number from %d to %d", o.min, o.max)
	n, err := strconv.Atoi(text)
	if err != nil {
		return fix, fmt.Errorf("%s is not a whole number", quote(text))
	}
	if n < o.min || n > o.max {
		return fix, fmt.Errorf("%d is out of range", n)
	}
	if o.unit != 0 {
		o.field.SetInt(int64(n) * int64(o.unit))
	} else {
		o.field.SetInt(int64(n))
	}
	return "", nil
}

func (o *option) setWord(text string) (string, error) {
	if o.oneof == nil {
		o.field.SetString(text)
		return "", nil
	}
	for _, word := range o.oneof {
		if strings.EqualFold(word, text) {
			o.field.SetString(word)
			return "", nil
		}
	}
	return "write " + strings.Join(o.oneof, " or "), fmt.Errorf("%s is not a known value", quote(text))
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// quote makes foreign text fit for an error message: escaped and short.
func quote(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return strconv.QuoteToASCII(string(runes[:most])) + "..."
	}
	return strconv.QuoteToASCII(text)
}
