// Package agentws is the broker's end of the agents' WebSockets: the upgrade, the
// pumps, the deadlines and the bounds. It turns bytes into frames and back; what
// a frame means is for the Link behind it.
//
// A broker holds ten thousand of these, so an idle socket costs one goroutine and
// small buffers: reading happens there, and a writing goroutine exists only while
// something waits to be written. Pings are sent only to agents that were silent for
// an interval; since each side answers the other's pings, both always hear something
// within one. Whoever hears nothing for three intervals gives up: that is how a
// half-open connection ends (C2, F6, F7).
//
// An authorized agent may still be a hostile one. Its frames are bounded in size,
// depth, number of values and rate, and all sockets together in the bytes they
// keep in memory; a queue that it does not read is bounded too, and costs it the socket.
package agentws
