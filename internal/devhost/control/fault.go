package control

import (
	"errors"
	"fmt"
	"slices"
)

// FaultKind names what goes wrong on request.
type FaultKind string

// The first group lasts until its Times are used up or it is cleared; the second
// happens once, at once.
const (
	Fail    FaultKind = "fail"    // a command ends with Message; create-session unless Command says
	Stall   FaultKind = "stall"   // a command takes DelayMillis, or forever if that is 0
	Slow    FaultKind = "slow"    // every command and every client connection takes DelayMillis
	Reject  FaultKind = "reject"  // clients are refused with Message
	Garbage FaultKind = "garbage" // a command succeeds and prints nonsense of the given Form
	Blank   FaultKind = "blank"   // screenshots are black

	LoseSession FaultKind = "lose-session" // Session is gone without a trace
	Restart     FaultKind = "restart"      // all sessions gone, all clients cut, then running again
	Stop        FaultKind = "stop"         // as Restart, but stays down
	Start       FaultKind = "start"        // up again after Stop
)

// Forms are the values of Fault.Form: words, half a document, bytes that are no
// text, nothing, and 64 MiB.
func Forms() []string { return []string{"text", "truncated", "binary", "empty", "huge"} }

// Bounds of a fault.
const (
	MaxFaultTimes  = 1_000_000
	MaxFaultDelay  = 24 * 60 * 60 * 1000 // milliseconds
	maxFaultString = 1024                // bytes
)

// Fault is something that goes wrong on request.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Command limits Fail, Stall and Garbage to one `dcv` command; "" means any
	// (for Fail: create-session).
	Command string `json:"command,omitempty"`
	// Times says how often it happens; 0 means until cleared.
	Times       int    `json:"times,omitempty"`
	Message     string `json:"message,omitempty"`
	DelayMillis int64  `json:"delay_ms,omitempty"`
	Form        string `json:"form,omitempty"`
	Session     string `json:"session,omitempty"`
}

// ErrFault reports a fault that makes no sense.
var ErrFault = errors.New("control: bad fault")

// Check says what is wrong with a fault, if anything.
func (f Fault) Check() error {
	switch {
	case f.Times < 0 || f.Times > MaxFaultTimes:
		return fmt.Errorf("%w: times must be 0 to %d", ErrFault, MaxFaultTimes)
	case f.DelayMillis < 0 || f.DelayMillis > MaxFaultDelay:
		return fmt.Errorf("%w: a delay is at most 24 hours", ErrFault)
	case len(f.Message) > maxFaultString || len(f.Session) > maxFaultString || len(f.Command) > maxFaultString:
		return fmt.Errorf("%w: text longer than %d bytes", ErrFault, maxFaultString)
	}
	switch f.Kind {
	case Fail, Stall, Reject, Blank, Restart, Stop, Start:
		return nil
	case Slow:
		if f.DelayMillis == 0 {
			return fmt.Errorf("%w: %s needs a delay", ErrFault, f.Kind)
		}
		return nil
	case Garbage:
		if !slices.Contains(Forms(), f.Form) {
			return fmt.Errorf("%w: the form of garbage is one of %v", ErrFault, Forms())
		}
		return nil
	case LoseSession:
		if f.Session == "" {
			return fmt.Errorf("%w: %s needs a session", ErrFault, f.Kind)
		}
		return nil
	}
	return fmt.Errorf("%w: unknown kind %q", ErrFault, f.Kind)
}
