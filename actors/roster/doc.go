// Package roster is the fleet's read model on one broker: every session and
// every server, with the ordered indexes that lists and filters need.
//
// One owner (an actor) feeds a Builder; everybody else reads Snapshots. A
// Snapshot never changes, is read without a lock by any number of goroutines
// while the Builder goes on, and costs O(1) to take: the trees below share
// their nodes and copy on write.
//
// The package is pure: no actor, no clock, no I/O. It is never the truth, only
// the newest picture that reached this broker: a view replaces another only if
// its version is higher. A removed entry leaves no trace here, so an old view
// that arrives after the removal is taken as new; who removes must know that
// nothing older is still on its way (sessions stay visible as DELETED long
// enough for that, contract section 1.3).
//
// # Encoded forms
//
// An entry has slots in which readers keep the bytes they made of its View. A
// slot belongs to one version: a replaced entry is a new value with empty slots.
// Session.Encoded must hold the session's own part only, without the nested
// server: that changes on its own and is combined from Server.Brief when an
// answer is written.
package roster
