// Package screen draws what a session on a stand-in host looks like: a desktop
// with a window that tells the session's name, owner and connected users, so that
// a screenshot shows at a glance whose it is and that it is current. It also reads
// display layouts and fits and encodes the pictures.
package screen
