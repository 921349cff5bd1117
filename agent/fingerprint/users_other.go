//go:build !windows

package fingerprint

import (
	"context"

	"github.com/shirou/gopsutil/v4/host"
)

// userNames reads the system's login records. A system without them, as most
// containers are, has nobody logged in.
func userNames(ctx context.Context) []string {
	users, err := host.UsersWithContext(ctx)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.User)
	}
	return names
}
