// Package rest is the client API of the broker: the nine operations of contract
// section 1 on the client port, JSON in and JSON out.
//
// A request passes these stations, each in a file of its own:
//
//	server.go     routes, request id, access log, recovered panics
//	operation.go  the one adapter that sees a RequestCtx: authorize, read, answer
//	decode.go     strict JSON: bounded before it is decoded, exact after
//	<operation>.go what the operation does, without a socket
//	items.go      requests that are lists: each item succeeds or fails alone
//	errors.go     the one table from refusal codes to status and text
//	failures.go   why something failed, for people and programs
//	encode*.go    views to bytes; the bytes are kept beside the views
//
// Answers hold only the vendor's properties unless the caller asks for more with
// explain=true, because clients generated from the vendor's API description
// refuse properties they do not know.
package rest
