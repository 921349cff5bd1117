// Package dcvcmd is the `dcv` command of a stand-in host: options, output and exit
// codes as contract section 11 has them, the work done by the host behind a control
// socket. Results go to standard output, errors to standard error with exit code 1.
//
// The texts that are documented are the vendor's; where only the JSON form is
// documented (list-connections, list-endpoints), the text form is our own.
package dcvcmd
