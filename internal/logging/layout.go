package logging

import (
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"
)

// Layout appends one line without its end to buf.
type Layout func(buf []byte, line Line) []byte

// BrokerLayout has the shape of the vendor's broker.log, which administrators grep
// (contract section 3): "2025-08-05 01:21:04,734 [main] INFO component - message key=value".
// Goroutines have no names, so the bracket is constant.
func BrokerLayout(buf []byte, line Line) []byte {
	buf = line.Record.Time.AppendFormat(buf, "2006-01-02 15:04:05,000")
	buf = append(buf, " [main] "...)
	buf = append(buf, levelName(line.Record.Level)...)
	buf = append(buf, ' ')
	buf = appendEscaped(buf, orDefault(line.Component, "broker"))
	buf = append(buf, " - "...)
	buf = appendEscaped(buf, line.Record.Message)
	return append(buf, line.Attrs...)
}

// AgentLayout has the shape of the vendor's agent.log (contract section 3):
// "2025-08-05 01:21:04,734123 INFO ThreadId(01) component:message key=value".
func AgentLayout(buf []byte, line Line) []byte {
	buf = line.Record.Time.AppendFormat(buf, "2006-01-02 15:04:05,000000")
	buf = append(buf, ' ')
	buf = append(buf, levelName(line.Record.Level)...)
	buf = append(buf, " ThreadId(01) "...)
	buf = appendEscaped(buf, orDefault(line.Component, "dcvsessionmanageragent::agent"))
	buf = append(buf, ':')
	buf = appendEscaped(buf, line.Record.Message)
	return append(buf, line.Attrs...)
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARN"
	case level >= slog.LevelInfo:
		return "INFO"
	default:
		return "DEBUG"
	}
}

// ParseLevel reads debug, info, warning (or warn) and error.
func ParseLevel(name string) (slog.Level, bool) {
	switch name {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warning", "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	default:
		return slog.LevelInfo, false
	}
}

func orDefault(text, def string) string {
	if text == "" {
		return def
	}
	return text
}

func appendKey(buf []byte, key string) []byte {
	if key == "" || needsQuotes(key) {
		return appendQuoted(buf, key)
	}
	return append(buf, key...)
}

func appendValue(buf []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(buf, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(buf, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(buf, v.Bool())
	case slog.KindDuration:
		return append(buf, v.Duration().String()...)
	case slog.KindTime:
		return v.Time().UTC().AppendFormat(buf, time.RFC3339Nano)
	}
	text := v.String()
	if text == "" || needsQuotes(text) {
		return appendQuoted(buf, text)
	}
	return append(buf, text...)
}

// needsQuotes reports whether a value would not read as one word.
func needsQuotes(text string) bool {
	for i := range len(text) {
		if b := text[i]; b <= ' ' || b >= 0x7f || b == '"' || b == '=' || b == '\\' {
			return true
		}
	}
	return false
}

// appendQuoted writes text in quotes; what appendEscaped escapes is escaped, and so
// are quote and backslash.
func appendQuoted(buf []byte, text string) []byte {
	buf = append(buf, '"')
	buf = appendRunes(buf, text, true)
	return append(buf, '"')
}

// appendEscaped writes text so that it stays one line and does nothing to a terminal.
func appendEscaped(buf []byte, text string) []byte { return appendRunes(buf, text, false) }

func appendRunes(buf []byte, text string, quoted bool) []byte {
	text = text[:min(len(text), maxLineLen)]
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !startsReplacementRune(text[i:]):
			buf = append(buf, `\x`...)
			buf = append(buf, hex[text[i]>>4], hex[text[i]&15])
		case r == '\n':
			buf = append(buf, `\n`...)
		case r == '\r':
			buf = append(buf, `\r`...)
		case r == '\t':
			buf = append(buf, `\t`...)
		case quoted && (r == '"' || r == '\\'):
			buf = append(buf, '\\', byte(r))
		case isHarmful(r):
			buf = append(buf, `\u`...)
			buf = append(buf, hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			buf = utf8.AppendRune(buf, r)
		}
	}
	return buf
}

const hex = "0123456789abcdef"

func startsReplacementRune(text string) bool {
	_, size := utf8.DecodeRuneInString(text)
	return size == 3
}

// isHarmful: control characters, line separators, text-direction and invisible marks.
func isHarmful(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f ||
		r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x2069 || r == 0xfeff
}
