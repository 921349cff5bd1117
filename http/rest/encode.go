package rest

import (
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Answers are appended, member by member, to one buffer. Every member ends with a
// comma; closing an object or array turns the last one into the bracket. Empty
// and unknown values are left out, as in the vendor's answers (contract 1.2).

const timeLayout = "2006-01-02T15:04:05.000Z"

// maxUnixMs is the end of the year 9999, the last one timeLayout can write.
const maxUnixMs = 253402300799999

func appendName(b []byte, name string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendQuoted writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendQuoted(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text)
	return b
}

// appendText writes the member even if it is empty.
func appendText(b []byte, name, text string) []byte {
	return append(appendQuoted(appendName(b, name), text), ',')
}

func appendOptionalText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(b, name, text)
}

func appendInt(b []byte, name string, n int64) []byte {
	return append(strconv.AppendInt(appendName(b, name), n, 10), ',')
}

// appendFloat leaves out what JSON cannot say: NaN and the infinities.
func appendFloat(b []byte, name string, f float32) []byte {
	if f64 := float64(f); math.IsNaN(f64) || math.IsInf(f64, 0) {
		return b
	}
	return append(jsontext.AppendFloat(appendName(b, name), float64(f), 32), ',')
}

func appendOptionalTime(b []byte, name string, unixMs int64) []byte {
	if unixMs <= 0 || unixMs > maxUnixMs {
		return b
	}
	b = append(appendName(b, name), '"')
	b = time.UnixMilli(unixMs).UTC().AppendFormat(b, timeLayout)
	return append(b, '"', ',')
}

// closeWith ends an object or array: a trailing comma becomes the bracket.
func closeWith(b []byte, bracket byte) []byte {
	if last := len(b) - 1; b[last] == ',' {
		b[last] = bracket
		return b
	}
	return append(b, bracket)
}

func closeObject(b []byte) []byte { return closeWith(b, '}') }

func closeArray(b []byte) []byte { return closeWith(b, ']') }
