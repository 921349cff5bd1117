package membership

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"unicode"
)

// Bounds of a document. A fleet of brokers is small; what exceeds them is not ours.
const (
	maxDocument = 256 << 10 // bytes
	maxMembers  = 500
	maxGone     = 64 // remembered; the oldest is forgotten first
	maxName     = 128
	maxAddress  = 262 // a DNS name, a colon and a port
	maxEpoch    = 1 << 62
)

// document is the view as the registry keeps it.
type document struct {
	// Protocol is the version in whose form this is: the oldest that every member still
	// speaks, so that the version before can come back after an upgrade.
	Protocol int     `json:"protocol"`
	Epoch    uint64  `json:"epoch"`
	Members  []Entry `json:"members"`
	// Gone are the incarnations that were removed lately: never to be added again,
	// whatever the registry says of them.
	Gone []gone `json:"gone,omitempty"`
}

type gone struct {
	ID     string `json:"id"`
	UnixMS int64  `json:"removed_unix_ms"` // by the clock of who removed it
	Left   bool   `json:"left,omitempty"`  // by its own will
}

// decode reads what the registry holds. protocol is the newest version this broker
// understands. Of a later one it knows only what all versions have in common: protocol,
// epoch and the members' IDs are where they are now. If those are there they come with
// ErrIncompatible.
func decode(data []byte, protocol int) (*document, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrForeign, len(data), maxDocument)
	}
	var form struct {
		Protocol int `json:"protocol"`
	}
	if err := json.Unmarshal(data, &form); err != nil || form.Protocol < 1 {
		return nil, fmt.Errorf("%w: no protocol version in it", ErrForeign)
	}
	if form.Protocol > protocol {
		return outline(data), fmt.Errorf("%w: the fleet speaks protocol %d or newer, this broker up to %d: start the version that the others run",
			ErrIncompatible, form.Protocol, protocol)
	}
	d := &document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("%w: not in the form of protocol %d", ErrForeign, form.Protocol)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return d, nil
}

// outline is a document of which only the epoch and the members' IDs are known, nil if
// not even those.
func outline(data []byte) *document {
	var form struct {
		Epoch   uint64 `json:"epoch"`
		Members []struct {
			ID string `json:"id"`
		} `json:"members"`
	}
	if err := json.Unmarshal(data, &form); err != nil || len(form.Members) == 0 || form.Epoch > maxEpoch {
		return nil
	}
	d := &document{Epoch: form.Epoch}
	for _, m := range form.Members {
		d.Members = append(d.Members, Entry{ID: m.ID})
	}
	slices.SortFunc(d.Members, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	return d
}

func (d *document) check() error {
	switch {
	case d.Epoch == 0 || d.Epoch > maxEpoch:
		return errors.New("impossible epoch")
	case len(d.Members) == 0 || len(d.Members) > maxMembers: // nobody removes itself, so one remains
		return fmt.Errorf("%d members, not 1 to %d", len(d.Members), maxMembers)
	case len(d.Gone) > maxGone:
		return fmt.Errorf("%d removed members, at most %d", len(d.Gone), maxGone)
	}
	for i, m := range d.Members {
		if err := m.check(); err != nil {
			return err
		}
		if i > 0 && d.Members[i-1].ID >= m.ID {
			return errors.New("members not in order, or one twice")
		}
	}
	for _, g := range d.Gone {
		if err := checkName("id", g.ID, maxName); err != nil {
			return err
		}
	}
	return nil
}

func (e Entry) check() error {
	if err := checkName("id", e.ID, maxName); err != nil {
		return err
	}
	if err := checkName("address", e.Address, maxAddress); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(e.Address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || n == 0 {
		return fmt.Errorf("member %s has the address %q, which is not host:port", e.ID, e.Address)
	}
	if e.Oldest < 1 || e.Protocol < e.Oldest {
		return fmt.Errorf("member %s has impossible protocol versions %d to %d", e.ID, e.Oldest, e.Protocol)
	}
	return nil
}

// checkName also keeps out of logs and keys what would garble them.
func checkName(what, s string, longest int) error {
	if s == "" || len(s) > longest {
		return fmt.Errorf("a member's %s has %d bytes, not 1 to %d", what, len(s), longest)
	}
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' || r == '/' {
			return fmt.Errorf("a member's %s has the character %q", what, r)
		}
	}
	return nil
}

func (d *document) encode() ([]byte, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("membership: encode the view: %w", err)
	}
	return data, nil
}

func (d *document) view() *View {
	v := &View{Epoch: d.Epoch, Protocol: spoken(d.Members), Members: make([]Member, len(d.Members))}
	for i, m := range d.Members {
		v.Members[i] = Member{ID: m.ID, Address: m.Address}
	}
	return v
}

func (d *document) member(id string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(d.Members, id, func(m Entry, id string) int { return cmp.Compare(m.ID, id) })
	if !ok {
		return Entry{}, false
	}
	return d.Members[i], true
}

func (d *document) has(id string) bool {
	_, ok := d.member(id)
	return ok
}

func (d *document) removed(id string) bool {
	return slices.ContainsFunc(d.Gone, func(g gone) bool { return g.ID == id })
}

// with and without return changed copies; the epoch is the caller's.
func (d *document) with(e Entry) *document {
	n := *d
	at, _ := slices.BinarySearchFunc(d.Members, e.ID, func(m Entry, id string) int { return cmp.Compare(m.ID, id) })
	n.Members = slices.Insert(slices.Clone(d.Members), at, e)
	n.Protocol = form(n.Members)
	return &n
}

// Listed are those whom the registry lists.
func (d *document) without(g gone, listed map[string]Entry) *document {
	n := *d
	n.Members = slices.DeleteFunc(slices.Clone(d.Members), func(m Entry) bool { return m.ID == g.ID })
	n.Gone = forget(append(slices.Clone(d.Gone), g), listed)
	n.Protocol = form(n.Members)
	return &n
}

// forget bounds what is remembered. It begins with the oldest of whom the registry has
// forgotten as well: whom it still lists would be added again.
func forget(all []gone, listed map[string]Entry) []gone {
	for len(all) > maxGone {
		at := max(0, slices.IndexFunc(all, func(g gone) bool { _, ok := listed[g.ID]; return !ok }))
		if at == len(all)-1 {
			at = 0 // not the one that is removed now
		}
		all = slices.Delete(all, at, at+1)
	}
	return all
}

// form is the oldest version that all members speak.
func form(members []Entry) int {
	oldest := 1
	for _, m := range members {
		oldest = max(oldest, m.Oldest)
	}
	return oldest
}

// spoken is the newest version that all members speak.
func spoken(members []Entry) int {
	newest := math.MaxInt
	for _, m := range members {
		newest = min(newest, m.Protocol)
	}
	return newest
}

// compatible says whether two brokers share a protocol version.
func compatible(a, b Entry) bool { return a.Protocol >= b.Oldest && b.Protocol >= a.Oldest }
