package requirements_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

func TestTags_SystemTagsAreAlwaysThereAndOrdered(t *testing.T) {
	t.Parallel()
	facts := &messages.ServerFacts{
		Os:                           &messages.Os{Family: "linux"},
		Tags:                         map[string]string{"zone": "b", "color": "pink"},
		MaxVirtualSessions:           -1,
		MaxConcurrentSessionsPerUser: 12,
	}
	require.Equal(t, []requirements.Tag{
		{Key: "color", Value: "pink"},
		{Key: "dcv:max-concurrent-sessions-per-user", Value: "12"},
		{Key: "dcv:max-virtual-sessions", Value: "-1"},
		{Key: "dcv:os-family", Value: "linux"},
		{Key: "zone", Value: "b"},
	}, requirements.Tags(facts))
}

func TestTags_AHostCannotForgeSystemTags(t *testing.T) {
	t.Parallel()
	facts := &messages.ServerFacts{
		Os:                 &messages.Os{Family: "windows"},
		Tags:               map[string]string{"dcv:os-family": "linux", "dcv:other": "x"},
		MaxVirtualSessions: 7,
	}
	family, ok := requirements.TagValue(facts, "dcv:os-family")
	require.True(t, ok)
	require.Equal(t, "windows", family)
	limit, ok := requirements.TagValue(facts, "dcv:max-virtual-sessions")
	require.True(t, ok)
	require.Equal(t, "0", limit, "no virtual sessions on Windows")
	_, ok = requirements.TagValue(facts, "dcv:other")
	require.False(t, ok)
	require.Len(t, requirements.Tags(facts), 3)
}

func TestTags_WithoutFactsThereAreNone(t *testing.T) {
	t.Parallel()
	require.Empty(t, requirements.Tags(nil))
	_, ok := requirements.TagValue(nil, "dcv:os-family")
	require.False(t, ok)
}
