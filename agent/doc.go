// Package agent is the program on a DCV host as a library: it keeps one WebSocket
// to a broker, reports what the host is and runs, and does what the broker asks.
//
// The parts meet like this:
//
//	Run      connects again and again              agent.go, dial.go, backoff.go
//	link     one connection: hello, pumps, beats   link.go, hello.go
//	reporter facts, load and the list of sessions  report.go
//	executor commands, one at a time per session   executor.go, answers.go
//	commands what each command does                commands.go, create.go
//	gate     the host's own limits                 gate.go
//
// A command's effect and its answer outlive the connection they came on: answers
// are remembered by request id, and a repeated request is answered, not repeated.
// Everything outside is an argument: the driver, the host's facts, tokens, TLS,
// logger. So one process can be ten thousand simulated hosts: an idle agent costs
// two goroutines and its connection.
//
// Ordering: the reply counter rises with each reply, after the effect of the
// command. A report carries the counter as it was before the sessions were
// listed, so the broker can tell which replies the list does not know of.
package agent
