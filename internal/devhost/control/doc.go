// Package control is the private language between the `dcv` command of a
// stand-in DCV host and the host itself: one JSON request line and one JSON
// answer on a unix socket that only its owner can open.
//
// The vendor's command talks to dcvserver over a system bus; nobody but the two
// ends sees that, so this one is free. What people and programs do see, the
// output of `dcv`, is contract section 11: the types here that have vendor's
// property names (Session, Connection, Endpoint, Image) are printed as they are.
package control
