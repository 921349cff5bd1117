// Package membership says who is in the fleet. Whatever the source is, Consul, a
// list of addresses, multicast or a load balancer's target group, what comes out is
// one View with an epoch, and everything else goes by that alone.
//
// Where the brokers share a registry that can check and set, the view is one document
// in it, and a Keeper on each broker follows that document and proposes its successor.
// The rules by which it does are the pure function decide; the registry is Consul
// (package consul) or, for tests, Memory. Package membershiptest is what every source
// has to keep.
package membership

import (
	"context"
	"errors"
)

// Errors of a Source; those of Join say that trying again with this broker does not help.
var (
	// ErrRemoved: the others took this broker for dead and went on without it. It must
	// not act under its identity any more: it joins again under a new one.
	ErrRemoved = errors.New("membership: this broker was removed from the fleet")
	// ErrIncompatible: the fleet and this broker share no protocol version.
	ErrIncompatible = errors.New("membership: this broker cannot work with the fleet's version")
	// ErrForeign: what is in the place of the fleet's view is not one.
	ErrForeign = errors.New("membership: not a view of a fleet")
	// ErrNoContact: nobody confirmed this broker's view within the time to live.
	ErrNoContact = errors.New("membership: nobody confirmed the view")
	// ErrNotMember: this broker has not joined yet, or has left.
	ErrNotMember = errors.New("membership: not a member of the fleet")
	// ErrOtherEpoch is for a Probe to return.
	ErrOtherEpoch = errors.New("membership: the other broker's view has another epoch")
	// ErrStranger is for a Probe to return: somebody is there, and the two do not take
	// each other for brokers of one fleet.
	ErrStranger = errors.New("membership: not a broker of this fleet")
	// ErrConfirmed is for a Probe to return: the member lives and has the same view,
	// which the registry confirms there.
	ErrConfirmed = errors.New("membership: the registry confirms the view to the other broker")
	// ErrOutOfContact is for a Probe to return: the member lives, and neither the registry
	// nor a majority confirms the view to it.
	ErrOutOfContact = errors.New("membership: the other broker has no contact")
	// ErrGone is for a Probe to return: the process is certainly no more.
	ErrGone = errors.New("membership: the other broker's process has ended")
)

// Probe asks another broker whether it lives; nil means yes. It must answer within
// the time of ctx, 150 ms as a rule. It must ask for the member's ID and not only at
// its address, where a new incarnation may answer for the one that died. An error
// that wraps ErrOtherEpoch says that the member lives but does not confirm the epoch
// of this broker's view. ErrConfirmed does not confirm it either: the registry serves, so
// that a broker which it does not serve is the one that is cut off, soon removed, and may
// not go by the word of others, of those neither that are cut off with it. ErrOutOfContact alone
// confirms it as nil does; by it a member is removed sooner that the registry misses. An
// error may wrap several of these. One that wraps ErrGone says that its process has ended: its
// machine refuses connections to its port, or another process answers there.
type Probe func(ctx context.Context, m Member) error

// Source keeps the view for one incarnation of a broker: it joins once. Its methods
// may be called concurrently.
type Source interface {
	// Join makes self known and returns when a view that holds it is current, or with
	// the reason why that cannot be; then the source has ended. While the registry does
	// not answer it keeps trying until ctx ends. The source calls probe before it takes
	// a member for dead, and may call it to see that this broker and the members take
	// each other for what they are; if not, Join fails with ErrStranger.
	Join(ctx context.Context, self Member, probe Probe) error
	// Current is the newest view this broker knows; before Join it may be empty. It
	// never changes: a new view is a new value with a higher epoch.
	Current() *View
	// Watch has f called with each new view, in order, one at a time, beginning with
	// the current one, until stop is called. f must not call the source, nor stop, and
	// must be quick: the source waits for it. A broker that is late may miss views in
	// between, as epochs tell.
	Watch(f func(*View)) (stop func())
	// Suspect reports that the transport lost a member; if probes fail too it is
	// removed at once, without waiting for the source to notice. It never blocks.
	Suspect(id string)
	// Contact is nil while this broker's view can be trusted: the source, or, while
	// that is down for all, a majority of the view, confirmed it within the time to
	// live. Otherwise it says why not (ErrNoContact, ErrRemoved, ErrNotMember); then
	// nothing may be acknowledged here that is not fenced by the store, and an unknown
	// id may not be called absent. It is cheap enough for every request.
	Contact() error
	// Removed is closed when this broker finds that a view without it was agreed on
	// and it did not ask for that. The source has ended then.
	Removed() <-chan struct{}
	// Leave takes this broker out of the view; the others need not probe it. When it
	// returns the source has ended, also if ctx ended first and the others have to find
	// out by themselves, which is the error.
	Leave(ctx context.Context) error
}

// Registered is a Source with a registry.
type Registered interface {
	// Confirmed says whether the registry confirmed this broker's view lately: sooner
	// than it would miss a broker that it does not hear of any more.
	Confirmed() bool
}
