package control

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentence is how `dcv` says that a command failed: "Could not create session.
// Why." (contract section 11).
func Sentence(command string, err error) string {
	why := err.Error()
	first, size := utf8.DecodeRuneInString(why)
	why = string(unicode.ToUpper(first)) + why[size:]
	if !strings.HasSuffix(why, ".") {
		why += "."
	}
	return fmt.Sprintf("Could not %.40s. %s", strings.ReplaceAll(command, "-", " "), why)
}
