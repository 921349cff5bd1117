package requirements

import (
	"sort"
	"strconv"
	"strings"

	"opensessionmanager/messages"
)

// The system tags every server has (contract section 1.2). They are computed
// from its facts, so that what a host's tag files say can never contradict them.
const (
	TagOSFamily                     = "dcv:os-family"
	TagMaxVirtualSessions           = "dcv:max-virtual-sessions"
	TagMaxConcurrentSessionsPerUser = "dcv:max-concurrent-sessions-per-user"
)

// systemPrefix is reserved: tags with it in a host's own files are ignored.
const systemPrefix = "dcv:"

// Tag is one tag of a server.
type Tag struct {
	Key   string
	Value string
}

// Tags lists the tags of a server in order of their keys: its own ones and the
// system tags. It is what clients see, what filters match and what expressions
// compare. No facts, no tags.
func Tags(facts *messages.ServerFacts) []Tag {
	if facts == nil {
		return nil
	}
	tags := make([]Tag, 0, len(facts.Tags)+3)
	for key, value := range facts.Tags {
		if !strings.HasPrefix(key, systemPrefix) {
			tags = append(tags, Tag{key, value})
		}
	}
	for _, key := range [...]string{TagOSFamily, TagMaxVirtualSessions, TagMaxConcurrentSessionsPerUser} {
		value, _ := systemTag(facts, key)
		tags = append(tags, Tag{key, value})
	}
	sort.Slice(tags, func(i, j int) bool { return tags[i].Key < tags[j].Key })
	return tags
}

// TagValue returns the value of one tag, and whether the server has it. It does
// not allocate, except for a limit of 100 sessions or more.
func TagValue(facts *messages.ServerFacts, key string) (string, bool) {
	if facts == nil {
		return "", false
	}
	if strings.HasPrefix(key, systemPrefix) {
		return systemTag(facts, key)
	}
	value, ok := facts.Tags[key]
	return value, ok
}

func systemTag(facts *messages.ServerFacts, key string) (string, bool) {
	switch key {
	case TagOSFamily:
		return facts.GetOs().GetFamily(), true
	case TagMaxVirtualSessions:
		if strings.EqualFold(facts.GetOs().GetFamily(), "windows") {
			return "0", true // Windows has console sessions only
		}
		return limitText(facts.MaxVirtualSessions), true
	case TagMaxConcurrentSessionsPerUser:
		return limitText(facts.MaxConcurrentSessionsPerUser), true
	}
	return "", false
}

// limitText writes a session limit; everything below zero means "no limit".
func limitText(limit int32) string {
	if limit < 0 {
		return "-1"
	}
	return strconv.Itoa(int(limit))
}
