//go:build ignore

// Writes the reference page and the sample file into the folder deploy.
package main

import (
	"bytes"
	"io"
	"log"
	"os"

	"opensessionmanager/internal/config"
)

func main() {
	for file, write := range map[string]func(io.Writer) error{
		"../../deploy/CONFIG.md":                         config.Reference,
		"../../deploy/session-manager-broker.properties": config.Sample,
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
