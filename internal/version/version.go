// Package version says which build this is.
package version

import (
	"runtime/debug"
)

// Version is set when a release is built: -ldflags "-X opensessionmanager/internal/version.Version=1.2.3".
var Version = "dev"

// String is the version and, if the build knows it, the revision: "1.2.3 (4f2c9d1e0b7a)".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version
	}
	return describe(Version, info.Settings)
}

func describe(version string, settings []debug.BuildSetting) string {
	revision, modified := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	if revision == "" {
		return version
	}
	return version + " (" + revision + modified + ")"
}
