// Package messages holds everything that crosses a mailbox, in protobuf and nothing else.
package messages
