// Package viewer is the client of a stand-in DCV host: what the page in a browser
// does, for tests and for the command line. It opens the URL a user gets from the
// broker, https://IP:PORT/?authToken=TOKEN#SESSION (contract section 1.8), and
// tells what it sees.
package viewer
