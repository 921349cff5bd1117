package e2e

// site is a network namespace that programs run in and its address; nil is this
// machine and its loopback address.
type site struct{ namespace, address string }

func (s *site) host() string {
	if s == nil {
		return "127.0.0.1"
	}
	return s.address
}

// inside is the command line that runs a program there.
func (s *site) inside(program string, args ...string) []string {
	argv := append([]string{program}, args...)
	if s == nil {
		return argv
	}
	return append([]string{"ip", "netns", "exec", s.namespace}, argv...)
}
