// Package logging writes log lines to the standard error stream or to a rotating
// file, through log/slog.
//
// A line is plain text, one event each: control characters, line breaks and
// text-direction marks in it are escaped, so nothing from outside can forge a
// second line or drive a terminal. Whoever logs never waits for a disk or a pipe:
// lines go into a bounded buffer that one goroutine empties; when it is full, new
// lines are dropped and counted (F50).
package logging
