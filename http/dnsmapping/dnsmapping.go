// Package dnsmapping keeps the DNS names under which DCV servers are reached, for
// Connection Gateways (contract sections 8 and 10): administrators load them from a
// file, and they are in the store, so that every broker has them.
package dnsmapping

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"opensessionmanager/persistence"
)

// Kind is the kind of the records.
const Kind = "dns-mapping"

const (
	scanPage = 500
	tries    = 5
)

// Mapping says under which names one DCV server is reached.
type Mapping struct {
	Type     Type   `json:"serverIdType"`
	ServerID string `json:"serverId"`
	Names    Names  `json:"dnsNames"`
}

// Names are a server's: Internal is what a gateway connects to. One may be empty.
type Names struct {
	Internal string `json:"internalDnsName,omitempty"`
	External string `json:"externalDnsName,omitempty"`
}

// Mappings are those in a store. Its methods may be called concurrently.
type Mappings struct{ store persistence.Store }

// New keeps mappings in store.
func New(store persistence.Store) *Mappings { return &Mappings{store} }

func key(m Mapping) persistence.Key {
	return persistence.Key{Kind: Kind, ID: string(m.Type) + "/" + m.ServerID}
}

// Register saves mappings; one of the same server takes the place of the one that was
// there, and one without names removes it. Those saved before an error stay: loading
// the file again is right.
func (s *Mappings) Register(ctx context.Context, mappings []Mapping) error {
	for try := 1; ; try++ {
		left, err := s.put(ctx, mappings)
		if err == nil && len(left) == 0 {
			return nil
		}
		if err != nil && (!again(err) || try == tries) {
			return fmt.Errorf("dnsmapping: save: %w", err)
		}
		mappings = left
	}
}

func again(err error) bool {
	return errors.Is(err, persistence.ErrConflict) || errors.Is(err, persistence.ErrUncertain) || errors.Is(err, persistence.ErrNotFound)
}

// put writes over whatever is there, in one batch: the last command wins. left are those
// that failed, err why the first of them did.
func (s *Mappings) put(ctx context.Context, mappings []Mapping) (left []Mapping, err error) {
	versions := map[persistence.Key]int64{}
	err = s.each(ctx, func(r persistence.Record) error { versions[r.Key] = r.Version; return nil })
	if err != nil {
		return mappings, err
	}
	ops, written := make([]persistence.Op, 0, len(mappings)), make([]Mapping, 0, len(mappings))
	for _, m := range mappings {
		data, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		version, there := versions[key(m)]
		remove := m.Names == Names{}
		if remove && !there {
			continue
		}
		ops = append(ops, persistence.Op{Record: persistence.Record{Key: key(m), Version: version, Data: data}, Delete: remove})
		written = append(written, m)
	}
	for i, result := range s.store.Apply(ctx, ops) {
		if result.Err != nil {
			left, err = append(left, written[i]), cmp.Or(err, result.Err)
		}
	}
	return left, err
}

// Describe lists all mappings in order of type and id.
func (s *Mappings) Describe(ctx context.Context) ([]Mapping, error) {
	found := []Mapping{}
	err := s.each(ctx, func(r persistence.Record) error {
		var m Mapping
		if err := json.Unmarshal(r.Data, &m); err != nil {
			return fmt.Errorf("record %q cannot be read: %w", r.Key.ID, err)
		}
		found = append(found, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dnsmapping: list: %w", err)
	}
	return found, nil
}

func (s *Mappings) each(ctx context.Context, do func(persistence.Record) error) error {
	for after := ""; ; {
		page, err := s.store.Scan(ctx, Kind, after, scanPage)
		if err != nil {
			return err
		}
		for _, record := range page {
			if err := do(record); err != nil {
				return err
			}
			after = record.Key.ID
		}
		if len(page) < scanPage {
			return nil
		}
	}
}
