package rest

import (
	"strconv"
	"unicode/utf8"

	"opensessionmanager/messages"
)

// Every refusal explains itself: a code that does not change, and in words and
// numbers why. Generated clients refuse unknown members, so this goes into the
// header X-Failure-Details, and into the body only on request (explain=true).

const (
	headerFailureDetails = "X-Failure-Details"
	// maxFailureHeader keeps the header below what proxies let through, in bytes.
	maxFailureHeader = 3500
	maxHeaderDetail  = 300
	// moreRoom is what `,{"more":1000}]` needs at most.
	moreRoom = 32
)

// failure is one item that was refused; item -1 is the request itself.
type failure struct {
	item    int
	refusal *messages.Refusal
}

// appendFailureHeader writes the header's value: a JSON array in ASCII. What does
// not fit is counted in a last element {"more":n}.
func appendFailureHeader(b []byte, failures []failure) []byte {
	start := len(b)
	b = append(b, '[')
	for i, f := range failures {
		mark := len(b)
		b = append(appendFailure(b, f), ',')
		if len(b)-start > maxFailureHeader-moreRoom {
			b = append(b[:mark], `{"more":`...)
			b = append(strconv.AppendInt(b, int64(len(failures)-i), 10), '}')
			break
		}
	}
	return closeArray(b)
}

func appendFailure(b []byte, f failure) []byte {
	b = append(b, '{')
	if f.item >= 0 {
		b = appendInt(b, "item", int64(f.item))
	}
	b = append(appendASCII(appendName(b, "code"), f.refusal.GetCode()), ',')
	if detail := detailOf(f.refusal); detail != "" {
		b = append(appendASCII(appendName(b, "detail"), shorten(detail, maxHeaderDetail)), ',')
	}
	if counts := f.refusal.GetCounts(); len(counts) > 0 {
		b = append(appendName(b, "counts"), '{')
		for _, count := range counts {
			b = append(appendASCII(b, shorten(count.GetCriterion(), maxHeaderDetail)), ':')
			b = append(strconv.AppendInt(b, int64(count.GetServers()), 10), ',')
		}
		b = append(closeObject(b), ',')
	}
	return closeObject(b)
}

// detailOf is the explanation of a refusal; its text where there is nothing more.
func detailOf(r *messages.Refusal) string {
	if detail := r.GetDetail(); detail != "" {
		return detail
	}
	return r.GetText()
}

// appendExplanation adds what explain=true asks for to a failed item.
func appendExplanation(b []byte, r *messages.Refusal) []byte {
	b = append(appendName(b, "FailureDetails"), '{')
	b = appendOptionalText(b, "Detail", detailOf(r))
	if counts := r.GetCounts(); len(counts) > 0 {
		b = append(appendName(b, "Servers"), '[')
		for _, count := range counts {
			b = appendText(append(b, '{'), "Criterion", count.GetCriterion())
			b = append(closeObject(appendInt(b, "Count", int64(count.GetServers()))), ',')
		}
		b = append(closeArray(b), ',')
	}
	if ms := r.GetRetryAfterMs(); ms > 0 {
		b = appendInt(b, "RetryAfterMs", ms)
	}
	return append(closeObject(b), ',')
}

// appendASCII writes a JSON string that is safe in a header: whatever is not
// printable ASCII is escaped.
func appendASCII(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	unit := func(b []byte, u rune) []byte {
		return append(b, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	b = append(b, '"')
	for _, r := range text { // a byte that is not UTF-8 comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff && r <= utf8.MaxRune:
			b = unit(unit(b, 0xd800+(r-0x10000)>>10), 0xdc00+(r-0x10000)&0x3ff)
		default:
			b = unit(b, r)
		}
	}
	return append(b, '"')
}
