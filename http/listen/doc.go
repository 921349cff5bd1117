// Package listen is the door of every HTTP port of the broker: it binds, speaks
// TLS, bounds what a stranger may cost, turns transport errors and panics into
// the project's error body, and drains.
//
// What it holds against hostile or broken peers:
//   - a header and a body each have a deadline, a response too, so a slow peer
//     cannot hold a connection (F27);
//   - whether a body may be sent is decided from the header, and until then not a
//     byte of it is asked for or kept; all bodies of a port together are bounded,
//     and given back when they have been answered (F28);
//   - a client that is refused while it sends gets to see why (linger);
//   - header, body and number of connections are bounded, and connections are
//     accepted at a bounded rate, so that a fleet of agents that reconnects at
//     once leaves processor time for the API (F15);
//   - who calls is who connects; a load balancer speaks for others only if it is listed,
//     in a PROXY protocol header or X-Forwarded-For (Caller; F39);
//   - the listener survives running out of file descriptors (F24);
//   - a panic of a handler costs one request (F25).
package listen
