// Package placement chooses the server for a new session: filter, then rank,
// with a reason for every server that is refused (contract section 4, N1).
//
// An Index holds the newest picture of every server and what was promised since
// (pending reservations). It is pure and not safe for concurrent use: one actor
// owns it. It promises nothing: the server grain has the last word, and a stale
// picture costs another Pick, never an overbooking.
//
// # Filter
//
// A server is judged on its criteria in the order in which they are declared:
// first the requirements, because a server that is not meant does not matter;
// then its state, whether it offers the type, whether it has room, and whether
// the owner has as many sessions there as allowed.
//
// # Rank
//
// Fewest sessions relative to capacity first, then the lowest one-minute load
// per CPU, then the id. Capacity is the number of virtual sessions allowed, or of
// CPUs (at least one) where there is no limit, plus the console session where one
// is possible. Pending reservations count as sessions.
//
// # Cost
//
// Servers with room stand in a tree per session type, in order of rank. The
// servers that match a requirement form a class, a set of bits that is kept up to
// date as pictures change; the classes used last are kept. A requirement that
// pins a tag or an identity is answered from an index of those instead. So no
// Pick looks at all servers, except for an unpinned requirement seen for the
// first time that few or none meet. Each class counts its members by criterion,
// so that a refusal with its reasons costs no more than a choice.
package placement
