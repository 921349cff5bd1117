package fingerprint

import "strings"

// queryUser reads the output of Windows' `query user`: a heading, then a line per
// user that starts with ">" for the caller's own.
func queryUser(output []byte) []string {
	const mostLines = 1000
	lines := strings.Split(string(output[:min(len(output), 1<<20)]), "\n")
	var names []string
	for i, line := range lines[:min(len(lines), mostLines)] {
		fields := strings.Fields(line)
		if i == 0 || len(fields) == 0 {
			continue
		}
		names = append(names, strings.TrimPrefix(fields[0], ">"))
	}
	return names
}
