// Package requirements reads, prints and evaluates the Requirements expression
// of CreateSessions (contract section 5), and says which tags a server has.
//
// It is pure: no actor, no clock, no I/O. An expression is parsed once, at the
// door, and evaluated many times; a parsed Expr is immutable and may be shared
// by any number of goroutines.
package requirements
