// Package e2e tells stories about the programs as people run them: a broker in its own
// process with its own configuration file, stand-in DCV hosts, real agents, the API over
// TLS with the broker's CA. Every answer of the API is held to the API's description.
//
// Where a story needs more hosts than processes, the agents run in the test's process
// with a DCV server in memory; the broker is always the program. Each story has a broker,
// ports and folders of its own. Whatever a story started is killed when it ends, its logs
// are shown if it failed.
package e2e
