package fingerprint

import (
	"context"
	"slices"
)

const mostUsers = 256

// loggedIn returns the names of the users logged in, each once and sorted. With
// hide every name is "unknown" (key enable_query_logged_in_users, contract
// section 7): that somebody is there matters to placement, who it is does not.
func loggedIn(ctx context.Context, hide bool) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var names []string
	for _, name := range userNames(ctx) {
		name = clean(name)
		if name == "" {
			continue
		}
		if hide {
			name = "unknown"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), mostUsers)]
}
