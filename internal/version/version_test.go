package version

import (
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	clean := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "false"}}
	require.Equal(t, "1.2.3", describe("1.2.3", nil))
	require.Equal(t, "1.2.3 (0123456789ab)", describe("1.2.3", clean))
	clean[1].Value = "true"
	require.Equal(t, "1.2.3 (0123456789ab, modified)", describe("1.2.3", clean))
	require.True(t, strings.HasPrefix(String(), Version))
}
