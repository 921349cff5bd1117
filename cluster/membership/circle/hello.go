package circle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"unicode"
)

// Bounds of what another broker may say.
const (
	maxHello   = 32 << 10
	maxName    = 128
	maxAddress = 262
	maxPeers   = 64 // addresses that one hello passes on
	// maxEpoch leaves room for the views that follow: package membership takes four times
	// as much, and they are no more than some hundreds above each other.
	maxEpoch = 1 << 60
)

// hello is what brokers tell each other again and again, and the answer to it.
type hello struct {
	ID      string `json:"id"`
	Address string `json:"address"` // where others reach this broker's discovery port
	// Since is when it settled, in unix milliseconds; 0: it is still looking around. A
	// newcomer counts as younger than all it met, whatever its clock says.
	Since int64 `json:"since,omitempty"`
	// Term is the highest it knows, or the one in which it leads.
	Term   uint64 `json:"term,omitempty"`
	Leader string `json:"leader,omitempty"` // ID of whom it follows, its own if it leads
	// Heard says that it reached its leader just now.
	Heard bool `json:"heard,omitempty"`
	// Followers is how many brokers follow it, itself included, if it leads.
	Followers int    `json:"followers,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"` // of the newest view it knows
	Leaving   bool   `json:"leaving,omitempty"`
	// Unable says that it reaches too few others, or has not looked around yet: it neither
	// leads nor is waited for.
	Unable bool `json:"unable,omitempty"`
	// Sick says that it should not lead while another one can: its disk keeps nothing.
	Sick bool `json:"sick,omitempty"`
	// Peers are the addresses of brokers that it reaches, for those who do not know them.
	Peers []string `json:"peers,omitempty"`
}

func (h hello) leads() bool { return h.Leader == h.ID && !h.Leaving && !h.Unable }

// fit says whether it would lead, and well.
func (h hello) fit() bool { return h.Since != 0 && !h.Leaving && !h.Unable && !h.Sick }

// outranks says which of two leaders stays when they meet.
func (h hello) outranks(o hello) bool {
	return cmp.Or(cmp.Compare(h.Followers, o.Followers), cmp.Compare(h.Term, o.Term), cmp.Compare(h.ID, o.ID)) > 0
}

// senior says which of two brokers leads if nobody does.
func (h hello) senior(o hello) bool {
	if h.Sick != o.Sick {
		return h.fit()
	}
	return h.Since != 0 && !h.Unable && cmp.Or(cmp.Compare(h.Since, o.Since), cmp.Compare(h.ID, o.ID)) < 0
}

func decodeHello(data []byte) (hello, error) {
	var h hello
	if len(data) > maxHello {
		return h, fmt.Errorf("circle: a hello of %d bytes, at most %d", len(data), maxHello)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return h, fmt.Errorf("circle: not a hello: %w", err)
	}
	return h, h.check()
}

func (h hello) check() error {
	const highest = 1 << 31 // terms and followers; a term is half of a version (registry.go)
	switch {
	case !name(h.ID), h.Leader != "" && !name(h.Leader):
		return fmt.Errorf("circle: a hello with the ID %.20q", h.ID)
	case CheckAddress(h.Address) != nil:
		return fmt.Errorf("circle: a hello from the address %.40q", h.Address)
	case h.Term >= highest, h.Followers < 0, h.Followers >= highest, h.Since < 0, h.Epoch > maxEpoch, len(h.Peers) > maxPeers:
		return fmt.Errorf("circle: a hello with impossible numbers")
	}
	for _, p := range h.Peers {
		if err := CheckAddress(p); err != nil {
			return err
		}
	}
	return nil
}

// name also keeps out of logs what would garble them.
func name(s string) bool {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// CheckAddress says whether an address is host:port, as others must write it.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(port, 10, 16); err == nil && (n == 0 || !name(host) || len(address) > maxAddress) {
			err = fmt.Errorf("no host or no port")
		}
	}
	if err != nil {
		return fmt.Errorf("circle: %.60q is not host:port", address)
	}
	return nil
}
