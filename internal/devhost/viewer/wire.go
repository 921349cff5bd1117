package viewer

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The types of an Event.
const (
	Welcome = "welcome" // the connection counts from now on
	State   = "state"   // the session as it is now; a picture may follow
	Refused = "refused" // the last event: no connection, Reason says why
	Ended   = "ended"   // the last event: the host cut the connection, Reason says why
)

// Event is a text message of the host. Binary messages are JPEG pictures of the
// screen. Any text message of the client asks for a new state and picture.
type Event struct {
	Type    string `json:"type"`
	Reason  string `json:"reason,omitempty"`
	Session string `json:"session,omitempty"` // ID
	Name    string `json:"name,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Kind    string `json:"kind,omitempty"` // "console" or "virtual"
	Host    string `json:"host,omitempty"`
	User    string `json:"user,omitempty"` // who the verifier says we are
	// Connection is our number in `dcv list-connections`.
	Connection  int      `json:"connection,omitempty"`
	Connections int      `json:"connections,omitempty"`
	Users       []string `json:"users,omitempty"`
	Features    []string `json:"features,omitempty"` // what the permissions allow us
}

// Address is a client URL taken apart.
type Address struct {
	WebSocket string // wss URL without the token
	Token     string
	SessionID string
}

// ErrURL reports something that is not a client URL.
var ErrURL = errors.New("viewer: not a client URL")

const maxURL = 32 << 10 // bytes

// ParseURL takes an https:// or dcv:// client URL apart. Its errors do not show
// the URL, which holds a secret.
func ParseURL(raw string) (Address, error) {
	if len(raw) > maxURL {
		return Address{}, fmt.Errorf("%w: longer than %d bytes", ErrURL, maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "dcv") {
		return Address{}, fmt.Errorf("%w: want https://HOST:PORT/?authToken=TOKEN#SESSION", ErrURL)
	}
	a := Address{Token: u.Query().Get("authToken"), SessionID: u.Fragment}
	if a.SessionID == "" {
		return Address{}, fmt.Errorf("%w: no #SESSION at the end", ErrURL)
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/") + "/connect"
	a.WebSocket = "wss://" + u.Host + path
	return a, nil
}

func (a Address) dialURL() string {
	return a.WebSocket + "?" + url.Values{"authToken": {a.Token}, "sessionId": {a.SessionID}}.Encode()
}
