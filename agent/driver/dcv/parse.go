package dcv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"opensessionmanager/messages"
)

// Bounds of what is believed of one listing.
const (
	mostSessions = 4096
	longestField = 1024 // bytes
	mostImages   = 16
)

var errUnreadable = errors.New("dcv: output cannot be understood")

// text takes a JSON string, number or bool; null and anything else is "".
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	switch v := value.(type) {
	case string:
		*t = text(strings.ToValidUTF8(v[:min(len(v), longestField)], ""))
	case json.Number:
		*t = text(v)
	case bool:
		*t = text(strconv.FormatBool(v))
	default:
		*t = ""
	}
	return nil
}

// number reads the text as a whole number within [0, MaxInt32], else 0.
func (t text) number() int32 {
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return int32(min(n, math.MaxInt32))
}

// moment keeps only what is a time.
func (t text) moment() string {
	if _, err := time.Parse(time.RFC3339Nano, string(t)); err != nil {
		return ""
	}
	return string(t)
}

type sessionJSON struct {
	ID                    text `json:"id"`
	Owner                 text `json:"owner"`
	User                  text `json:"user"`
	Name                  text `json:"name"`
	NumOfConnections      text `json:"num-of-connections"`
	CreationTime          text `json:"creation-time"`
	LastDisconnectionTime text `json:"last-disconnection-time"`
	Type                  text `json:"type"`
	Status                text `json:"status"`
	StorageRoot           text `json:"storage-root"`
	X11Display            text `json:"x11-display"`
}

// parseSessions reads what list-sessions and describe-session print: an array of
// objects, one object, or an object with "sessions". Entries without an id are
// left out, as are repeated ones.
func parseSessions(output []byte) ([]*messages.DcvSession, error) {
	output = bytes.TrimSpace(output)
	if len(output) == 0 || bytes.HasPrefix(output, []byte("There are no sessions")) {
		return nil, nil
	}
	objects, err := items(output, "sessions", mostSessions)
	if err != nil {
		return nil, err
	}
	sessions := make([]*messages.DcvSession, 0, len(objects))
	seen := make(map[text]bool, len(objects))
	for _, object := range objects {
		var s sessionJSON
		if err := json.Unmarshal(object, &s); err != nil || s.ID == "" || seen[s.ID] {
			continue
		}
		seen[s.ID] = true
		sessions = append(sessions, &messages.DcvSession{
			Id:                    string(s.ID),
			Owner:                 string(s.Owner),
			User:                  string(s.User),
			Name:                  string(s.Name),
			NumOfConnections:      s.NumOfConnections.number(),
			CreationTime:          s.CreationTime.moment(),
			LastDisconnectionTime: s.LastDisconnectionTime.moment(),
			Type:                  strings.ToLower(string(s.Type)),
			Status:                string(s.Status),
			StorageRoot:           string(s.StorageRoot),
			X11Display:            string(s.X11Display),
		})
	}
	return sessions, nil
}

// items returns the elements of an array, or of the array under key in an object,
// or the object itself.
func items(output []byte, key string, most int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	switch output[0] {
	case '[':
		if err := json.Unmarshal(output, &list); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
	case '{':
		var object map[string]json.RawMessage
		if err := json.Unmarshal(output, &object); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		inner, wrapped := object[key]
		if !wrapped {
			return []json.RawMessage{output}, nil
		}
		if err := json.Unmarshal(inner, &list); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
	default:
		return nil, fmt.Errorf("%w: neither an array nor an object", errUnreadable)
	}
	if len(list) > most {
		return nil, fmt.Errorf("%w: more than %d entries", errUnreadable, most)
	}
	return list, nil
}

type imageJSON struct {
	Format  text   `json:"format"`
	Base64  string `json:"base64"`
	Primary *bool  `json:"primary"`
}

// parseScreenshot reads what get-screenshot prints. The content decides the format,
// whatever the label says. The first picture is the primary one unless another
// says that it is.
func parseScreenshot(output []byte, now int64) ([]*messages.ScreenshotImage, error) {
	output = bytes.TrimSpace(output)
	if len(output) == 0 {
		return nil, fmt.Errorf("%w: nothing printed", errUnreadable)
	}
	objects, err := items(output, "images", mostImages)
	if err != nil {
		return nil, err
	}
	var images []*messages.ScreenshotImage
	labelled := false
	for _, object := range objects {
		var in imageJSON
		if err := json.Unmarshal(object, &in); err != nil {
			return nil, fmt.Errorf("%w: a picture: %w", errUnreadable, err)
		}
		data, err := base64.StdEncoding.DecodeString(in.Base64)
		if err != nil {
			return nil, fmt.Errorf("%w: a picture is not base64", errUnreadable)
		}
		format, err := formatOf(data)
		if err != nil {
			return nil, err
		}
		labelled = labelled || in.Primary != nil
		images = append(images, &messages.ScreenshotImage{
			Format: format, Data: data, CreationUnixMs: now, Primary: in.Primary != nil && *in.Primary})
	}
	if len(images) == 0 {
		return nil, errors.New("dcv: no picture was taken")
	}
	if !labelled {
		images[0].Primary = true
	}
	return images, nil
}

func formatOf(data []byte) (string, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return "png", nil
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return "jpeg", nil
	}
	return "", fmt.Errorf("%w: a picture is neither png nor jpeg", errUnreadable)
}
