// Package devhost is a stand-in for a host with an Amazon DCV server, for people
// without a licence, for end-to-end tests and for `make demo`.
//
// A Host lives in a folder. It has an executable `dcv` there, which an agent's
// dcv_root points to and which keeps the command contract (contract section 11);
// an HTTPS port where clients connect with a token that the host has verified, as
// a DCV server with an auth-token-verifier does; real sessions with connections,
// permissions, display layouts and init scripts that run; and faults on demand.
//
// What it is not: nothing is streamed, there is no X server behind a session's
// display number, and sessions do not end when their init script does. Passwords
// and other ways to log in do not exist: without a verifier, no client gets in.
//
// Sessions are lost when the process ends, as real virtual sessions are when
// dcvserver dies, unless Config.KeepSessions is set.
//
//	host, err := devhost.Start(devhost.Config{Dir: dir, VerifierURL: url, CAFile: ca})
//	...
//	agent.Config{DcvRoot: host.Info().DCV}
//
// The `dcv` file is a shell script that runs Config.Command, which must be a
// program that calls dcvcmd.Intercept first; a test binary does so in TestMain.
package devhost
