package membership

import (
	"context"
	"errors"
	"time"
)

// ErrNotRegistered: the registry does not know this broker (any more).
var ErrNotRegistered = errors.New("membership: not registered")

// Protocol is the version of what brokers say to each other and to the registry, and
// OldestProtocol the oldest that this program still speaks. A fleet is upgraded one
// broker at a time: it speaks the newest version that all its members know (View's
// Protocol), and a broker joins if it speaks a version with each of them. When to raise
// them says cluster/README.md.
const (
	Protocol       = 1
	OldestProtocol = 1
)

// Entry is one broker as the registry lists it.
type Entry struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Protocol int    `json:"protocol"`
	Oldest   int    `json:"oldest"`
	// Failing says why it is not healthy although it is listed; "" if it is.
	Failing string `json:"-"`
}

// Registry is the place where brokers find each other. It lists who is healthy and
// keeps one document. A call that fails has no effect or an unknown one; the caller
// bounds each by its ctx. Methods may be called concurrently.
type Registry interface {
	// Register lists e as healthy until its Beats stop for the time to live, or Withdraw.
	Register(ctx context.Context, e Entry) error
	// Beat keeps the entry healthy; ErrNotRegistered if the registry forgot it.
	Beat(ctx context.Context, id string) error
	// Withdraw ends the listing.
	Withdraw(ctx context.Context, id string) error
	// Healthy lists the healthy entries, and with the reason those that are failing. It waits up to wait while nothing has changed
	// since the answer that carried the index after; 0 is never waited for.
	Healthy(ctx context.Context, after uint64, wait time.Duration) ([]Entry, uint64, error)
	// Fleet reads the document and the marks of leavers; it waits as Healthy does. The
	// answer is not older than the call.
	Fleet(ctx context.Context, after uint64, wait time.Duration) (Stored, uint64, error)
	// Swap replaces the document if version is still its version, and clears marks of
	// leavers with it. false: somebody else was faster.
	Swap(ctx context.Context, version uint64, document []byte, clear []string) (bool, error)
	// Close gives back connections. The source calls it when it has ended.
	Close()
	// Place says where the document is, for messages to operators.
	Place() string
	// MarkLeft says that a member leaves by its own will.
	MarkLeft(ctx context.Context, id string) error
}

// Stored is what the registry keeps for all.
type Stored struct {
	Document []byte // nil: there is none
	Version  uint64 // of the document; 0: there is none
	Left     []string
}
