package messages

import "fmt"

// The version of the agent protocol that this program speaks. A minor version only
// adds, so peers ignore what they do not know. AgentProtocolReach is how many minor
// versions apart an agent and a broker may be: what is further apart is not tried
// together by anybody before a release.
const (
	AgentProtocolMajor = 1
	AgentProtocolMinor = 0
	AgentProtocolReach = 2
)

// AgentProtocol is that version as hello carries it.
func AgentProtocol() *ProtocolVersion {
	return &ProtocolVersion{Major: AgentProtocolMajor, Minor: AgentProtocolMinor}
}

// WorksWith says whether two peers of the agent protocol may talk. One that says no
// version speaks 0.0, which nobody works with.
func (v *ProtocolVersion) WorksWith(other *ProtocolVersion) bool {
	apart := int64(v.GetMinor()) - int64(other.GetMinor())
	return v.GetMajor() == other.GetMajor() && other.GetMinor() >= 0 && max(apart, -apart) <= AgentProtocolReach
}

// Text is the version as people write it: "1.0".
func (v *ProtocolVersion) Text() string { return fmt.Sprintf("%d.%d", v.GetMajor(), v.GetMinor()) }

// Range names the versions that v works with: "1.0 to 1.2".
func (v *ProtocolVersion) Range() string {
	lowest := &ProtocolVersion{Major: v.GetMajor(), Minor: max(0, v.GetMinor()-AgentProtocolReach)}
	highest := &ProtocolVersion{Major: v.GetMajor(), Minor: v.GetMinor() + AgentProtocolReach}
	return lowest.Text() + " to " + highest.Text()
}

// OlderThan says which of two peers that do not work together is to be upgraded.
func (v *ProtocolVersion) OlderThan(other *ProtocolVersion) bool {
	if v.GetMajor() != other.GetMajor() {
		return v.GetMajor() < other.GetMajor()
	}
	return v.GetMinor() < other.GetMinor()
}
