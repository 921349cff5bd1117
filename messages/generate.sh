#!/bin/sh
# Turns the .proto files of this folder into Go. Needs protoc (Debian: protobuf-compiler).
set -eu
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go
actor=$(go list -m -f '{{.Dir}}' github.com/asynkron/protoactor-go)/actor
protoc --plugin="$bin/protoc-gen-go" -I . -I "$actor" \
	--go_out=. --go_opt=paths=source_relative ./*.proto
