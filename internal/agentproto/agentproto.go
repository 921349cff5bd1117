// Package agentproto is the agent protocol as bytes: paths, bounds, and the
// codec between messages.AgentFrame and the JSON text frames on the WebSocket.
// Broker and agent both import it, so neither can drift from the other; it knows
// no socket and no HTTP library.
//
// A frame is a JSON object with exactly one key, which names the message
// (contract section 3). Frames come from hosts that many people may log in to, so
// decoding is bounded in depth and in number of values before anything is built.
package agentproto

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"opensessionmanager/messages"
)

// Paths on the agent port. PathValidate is the vendor's (contract section 11),
// the others are ours: the vendor's are unknown (contract section 17).
const (
	PathRegister = "/agent/register"
	PathCA       = "/agent/ca" // the authority of the agent port's certificate in PEM; public
	PathToken    = "/agent/oauth2/token"
	PathSocket   = "/agent/ws"
	PathValidate = "/agent/validate-authentication-token"
	PathHealth   = "/health"
)

// Bounds of one frame.
const (
	// MaxFrameBytes is the largest frame either side sends or takes by default.
	// Screenshots set it: the vendor's own limit was too small for them.
	MaxFrameBytes = 16 << 20
	// MaxDepth bounds nested objects and arrays; our deepest message needs six.
	MaxDepth = 32
	// MaxValues bounds the members and elements of a whole frame. Without it a
	// report of empty sessions, three bytes each, would grow a hundredfold in memory.
	// A host with 1,000 sessions sends about 12,000.
	MaxValues = 1 << 16
)

// Errors of Encode and Decode. Callers compare with errors.Is.
var (
	// ErrMalformed: the bytes are not one message in the protocol's JSON.
	ErrMalformed = errors.New("agentproto: malformed frame")
	// ErrTooComplex: the frame exceeds MaxDepth or MaxValues.
	ErrTooComplex = errors.New("agentproto: frame too complex")
	// ErrUnknownMessage: a well-formed frame whose name this version does not
	// know. A newer peer may send it; ignore it and keep the connection.
	ErrUnknownMessage = errors.New("agentproto: unknown message")
	// ErrNoMessage: Encode was given a frame without a message.
	ErrNoMessage = errors.New("agentproto: frame holds no message")
)

// Encode returns the frame as JSON text, or ErrNoMessage, or an error if a
// string in it is not valid UTF-8.
func Encode(frame *messages.AgentFrame) ([]byte, error) {
	return Append(nil, frame)
}

// Append is Encode into a buffer the caller keeps.
func Append(dst []byte, frame *messages.AgentFrame) ([]byte, error) {
	if frame.GetBody() == nil {
		return dst, ErrNoMessage
	}
	out, err := protojson.MarshalOptions{}.MarshalAppend(dst, frame)
	if err != nil {
		return dst, fmt.Errorf("agentproto: encode %s: %w", Name(frame), err)
	}
	return out, nil
}

// Decode reads one frame. It keeps no reference to data. The error wraps
// ErrMalformed, ErrTooComplex or ErrUnknownMessage. The caller bounds len(data).
func Decode(data []byte) (*messages.AgentFrame, error) {
	name, err := outline(data)
	if err != nil {
		return nil, err
	}
	frame := &messages.AgentFrame{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, frame); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if frame.GetBody() != nil {
		return frame, nil
	}
	if known(name) { // {"helloRequest": null}
		return nil, fmt.Errorf("%w: message is null", ErrMalformed)
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownMessage, clip(name))
}

// Name returns the frame's top-level key, as "helloRequest", or "" if it is empty.
func Name(frame *messages.AgentFrame) string {
	if field := body(frame); field != nil {
		return field.JSONName()
	}
	return ""
}

// RequestID returns the requestId of the message in the frame, or "".
func RequestID(frame *messages.AgentFrame) string {
	field := body(frame)
	if field == nil {
		return ""
	}
	message := frame.ProtoReflect().Get(field).Message().Interface()
	if m, ok := message.(interface{ GetRequestId() string }); ok {
		return m.GetRequestId()
	}
	return ""
}

// NewRequestID returns 32 random hex digits (contract section 3).
func NewRequestID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process first
	return hex.EncodeToString(raw[:])
}

// body returns the descriptor of the message the frame holds, nil if none.
func body(frame *messages.AgentFrame) protoreflect.FieldDescriptor {
	if frame.GetBody() == nil {
		return nil
	}
	m := frame.ProtoReflect()
	return m.WhichOneof(m.Descriptor().Oneofs().ByName("body"))
}

func known(name string) bool {
	fields := (*messages.AgentFrame)(nil).ProtoReflect().Descriptor().Fields()
	return fields.ByJSONName(name) != nil || fields.ByTextName(name) != nil
}

// clip bounds and copies a peer's text for an error message.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
