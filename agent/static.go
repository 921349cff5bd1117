package agent

import (
	"context"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// StaticHost is a Host that never changes: for simulated hosts. Facts is shared
// between all who ask and must not be changed afterwards.
type StaticHost struct {
	Known *messages.ServerFacts
	Busy  *messages.ServerLoad
}

// Facts implements Host.
func (h StaticHost) Facts(context.Context) *messages.ServerFacts { return h.Known }

// Load implements Host.
func (h StaticHost) Load(context.Context) *messages.ServerLoad {
	if h.Busy == nil {
		return &messages.ServerLoad{}
	}
	return proto.CloneOf(h.Busy)
}

// StaticToken is a TokenSource with one token, which many agents may share.
type StaticToken string

// Token implements TokenSource.
func (t StaticToken) Token(context.Context) (string, error) { return string(t), nil }

// Reject implements TokenSource.
func (StaticToken) Reject(string) {}

// Replace implements TokenSource.
func (StaticToken) Replace(context.Context) error { return nil }
