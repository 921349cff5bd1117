package main

import (
	"context"
	"time"
)

// playground says what can be done with all that runs, and waits for Ctrl-C.
func (s *stage) playground(ctx context.Context) (string, error) {
	s.viewer.endIsOK = true
	mine := s.sessions[0]
	s.note("Open %s's session in a browser (its certificate is self-signed; the token is good for an hour):", mine.Owner)
	s.print("%s", s.url)
	s.print("")
	s.note("A new token, when that one is over, comes with a new URL:")
	s.command(s.dcvsm("--output-format table get-session-connection-data"), "--session-id "+mine.ID+" --user "+mine.Owner)
	s.print("")
	s.note("Look around:")
	s.command(s.dcvsm("--output-format table describe-sessions"))
	s.command(s.dcvsm("--output-format table describe-servers"))
	s.command(s.curl("/describeServers"), "-X POST")
	s.print("")
	s.note("Change something:")
	s.command(s.dcvsm("create-session"), "--name work --owner erin --type Virtual")
	s.command(s.dcvsm("delete-session"), "--session-id "+mine.ID+" --owner "+mine.Owner)
	s.command(s.program(hostProgram) + " fault stop --dir " + s.path("hosts") + " --host 1   # a DCV server dies")
	s.print("")
	s.note("The broker's log: %s", s.broker.log)
	s.print("\n%s", s.in(bold, indent+"Ctrl-C ends it all."))
	<-ctx.Done()
	return "ended", nil
}

// summary closes the demonstration.
func (s *stage) summary(closing []string) {
	if s.keep {
		s.print("\nNothing is left running.")
		return
	}
	s.print("\n%s %s", s.in(bold, "That was all"), s.in(dim, "("+seconds(time.Since(s.start))+"; nothing is left running)"))
	for _, line := range closing {
		s.print("%s", line)
	}
}
