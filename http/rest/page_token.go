package rest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"opensessionmanager/actors/roster"
)

const (
	// maxPageToken bounds a NextToken in characters.
	maxPageToken = 4096
	tagSize      = 16
)

// pageTokens writes and reads NextTokens: a place in a list, authenticated
// together with the query it belongs to. So a token is of no use for another
// query, another operation or another fleet, and cannot be made up.
type pageTokens struct{ key []byte }

func newPageTokens(secret []byte) pageTokens {
	return pageTokens{derive(secret, "page tokens")}
}

func (p pageTokens) append(b []byte, query querySum, cursor []byte) []byte {
	return base64.RawURLEncoding.AppendEncode(b, append(p.tag(query, cursor), cursor...))
}

// open returns the cursor of a token; the error is for the client.
func (p pageTokens) open(token string, query querySum) ([]byte, error) {
	if len(token) > maxPageToken {
		return nil, invalid("NextToken is too long")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < tagSize || !hmac.Equal(raw[:tagSize], p.tag(query, raw[tagSize:])) {
		return nil, invalid("NextToken is not valid for this request")
	}
	return raw[tagSize:], nil
}

func (p pageTokens) tag(query querySum, cursor []byte) []byte {
	mac := hmac.New(sha256.New, p.key)
	mac.Write(query[:])
	mac.Write(cursor)
	return mac.Sum(nil)[:tagSize]
}

// querySum identifies what a list was asked for, MaxResults aside.
type querySum [sha256.Size]byte

// sumQuery hashes lists of texts; their lengths keep neighbours apart.
func sumQuery(op opName, lists ...[]string) querySum {
	h := sha256.New()
	write := func(text string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	write(string(op))
	for _, list := range lists {
		h.Write(binary.AppendUvarint(nil, uint64(len(list))))
		for _, text := range list {
			write(text)
		}
	}
	return querySum(h.Sum(nil))
}

// filterList flattens filters, whose order does not matter, for sumQuery.
func filterList(filters []keyValuePair) []string {
	list := make([]string, 0, len(filters))
	for _, f := range filters {
		list = append(list, string(binary.AppendUvarint(nil, uint64(len(f.Key))))+f.Key+f.Value)
	}
	slices.Sort(list)
	return list
}

// A cursor names the last item shown, not a position: items that come and go
// elsewhere in the list cannot make the next page skip or repeat one that stays.

func sessionCursorBytes(c roster.SessionCursor) []byte {
	return append(binary.AppendVarint(nil, c.CreationUnixMs), c.ID...)
}

func parseSessionCursor(b []byte) (roster.SessionCursor, error) {
	created, n := binary.Varint(b)
	if n <= 0 {
		return roster.SessionCursor{}, invalid("NextToken is not valid for this request")
	}
	return roster.SessionCursor{CreationUnixMs: created, ID: string(b[n:])}, nil
}

func serverCursorBytes(c roster.ServerCursor) []byte {
	return append(append(binary.AppendUvarint(nil, uint64(len(c.Hostname))), c.Hostname...), c.ID...)
}

func parseServerCursor(b []byte) (roster.ServerCursor, error) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return roster.ServerCursor{}, invalid("NextToken is not valid for this request")
	}
	split := n + int(length)
	return roster.ServerCursor{Hostname: string(b[n:split]), ID: string(b[split:])}, nil
}
