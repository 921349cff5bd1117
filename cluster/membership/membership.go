// Package membership says who is in the fleet. Whatever the source is, Consul, a
// list of addresses, multicast or a load balancer's target group, what comes out is
// one View with an epoch, and everything else goes by that alone.
package membership

import (
	"context"
	"errors"
)

// ErrRemoved: the others took this broker for dead and went on without it. It must
// not act under its identity any more: it joins again under a new one.
var ErrRemoved = errors.New("membership: this broker was removed from the fleet")

// Probe asks another broker whether it lives; nil means yes. It must answer within
// the time of ctx.
type Probe func(ctx context.Context, m Member) error

// Source keeps the view. Its methods may be called concurrently.
type Source interface {
	// Join makes self known and returns when a view that holds it is current, or with
	// the reason why that cannot be. The source calls probe before it takes a member
	// for dead.
	Join(ctx context.Context, self Member, probe Probe) error
	// Current is the newest view this broker knows; before Join it may be empty. It
	// never changes: a new view is a new value with a higher epoch.
	Current() *View
	// Watch has f called with each new view, in order, one at a time, beginning with
	// the current one, until stop is called. f must not call the source.
	Watch(f func(*View)) (stop func())
	// Suspect reports that the transport lost a member; if probes fail too it is
	// removed at once, without waiting for the source to notice.
	Suspect(id string)
	// Contact is nil while this broker's view can be trusted: the source, or, while
	// that is down for all, a majority of the view, confirmed it within the time to
	// live. Otherwise it says why not; then nothing may be acknowledged here that is
	// not fenced by the store, and an unknown id may not be called absent.
	Contact() error
	// Removed is closed when this broker finds that a view without it was agreed on.
	Removed() <-chan struct{}
	// Leave takes this broker out of the view; the others need not probe it.
	Leave(ctx context.Context) error
}
