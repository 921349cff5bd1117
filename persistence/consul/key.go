package consul

import "strings"

// A record's key in Consul is <prefix>records/<kind>/<escaped ID>. The escape keeps
// two IDs apart, keeps their byte order, so that Consul lists them in the order of
// Scan, and yields only characters that every version of Consul takes in a key and
// that never form "..", "//" or a space.
//
// Digits, hyphens and the letters but z stand for themselves. Every other byte is
// one of five marks and two hexadecimal digits. The mark lies between the plain
// characters that surround the byte, which is what keeps the order.
const (
	markControl = ',' // 00 to 2c, below '-'
	markSlash   = '.' // 2e and 2f, between '-' and '0'
	markColon   = '=' // 3a to 40, between '9' and 'A'
	markLow     = '_' // 5b to 60, between 'Z' and 'a'
	markHigh    = 'z' // 7a ('z' itself) to ff, above 'y'
)

const hexDigits = "0123456789abcdef"

// escapedSize is the most bytes that one byte of an ID becomes.
const escapedSize = 3

func mark(b byte) (byte, bool) {
	switch {
	case b < '-':
		return markControl, true
	case b == '.', b == '/':
		return markSlash, true
	case b > '9' && b < 'A':
		return markColon, true
	case b > 'Z' && b < 'a':
		return markLow, true
	case b >= 'z':
		return markHigh, true
	}
	return 0, false
}

func escape(id string) string {
	var out strings.Builder
	out.Grow(len(id) + 2*escapedSize)
	for _, b := range []byte(id) {
		m, special := mark(b)
		if !special {
			out.WriteByte(b)
			continue
		}
		out.Write([]byte{m, hexDigits[b>>4], hexDigits[b&15]})
	}
	return out.String()
}

// unescape is the inverse of escape; false for what escape never yields.
func unescape(escaped string) (string, bool) {
	id := make([]byte, 0, len(escaped))
	for i := 0; i < len(escaped); i++ {
		b := escaped[i]
		if _, special := mark(b); !special {
			id = append(id, b)
			continue
		}
		if i+2 >= len(escaped) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, escaped[i+1]), strings.IndexByte(hexDigits, escaped[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		value := byte(high<<4 | low)
		if m, special := mark(value); !special || m != b {
			return "", false
		}
		id = append(id, value)
		i += 2
	}
	return string(id), true
}
