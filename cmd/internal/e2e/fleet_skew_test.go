//go:build fleet

package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
	"opensessionmanager/persistence"
	"opensessionmanager/persistence/consul"
)

// upgrade replaces the program of all brokers, one after the other, while clients work.
func (f *fleet) upgrade(load *load, to release) {
	f.t.Helper()
	for _, b := range f.brokers {
		require.Zero(f.t, b.proc.stop())
		load.awaitAccepted(20)
		b.program = to.broker
		b.start()
		load.awaitAccepted(20)
	}
}

// awaitProtocol waits until all brokers say that they all speak a version.
func (f *fleet) awaitProtocol(version int) {
	f.t.Helper()
	for _, b := range f.brokers {
		await(f.t, fmt.Sprintf("%s to speak protocol %d", b.url(), version), func() error {
			if _, latest, ok := cutLast(b.log.String(), "protocol="); !ok || !strings.HasPrefix(latest, fmt.Sprint(version)) {
				return errors.New("it does not say so")
			}
			return nil
		})
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

// F47: upgrade broker by broker to the version after this one, and back again, under
// load: nothing that was accepted fails. What the later version stored is still there
// after this one has changed it.
func TestFleet_IsUpgradedAndRolledBackUnderLoad(t *testing.T) {
	t.Parallel()
	after := next.build(t)
	f := startFleet(t, 3, 6)
	load := f.load(4)
	load.awaitAccepted(40)
	f.awaitProtocol(1)
	f.upgrade(load, after)
	f.awaitProtocol(2)
	before := load.ids()
	load.awaitAccepted(40)
	made := slices.DeleteFunc(load.ids(), func(id string) bool { return slices.Contains(before, id) })
	f.upgrade(load, current)
	f.awaitProtocol(1)
	load.awaitAccepted(20)
	load.check(f.brokers...)
	require.Empty(t, load.failed, "requests that failed at two brokers")
	require.NotContains(t, f.logs(), "panic")

	kept := 0
	for _, id := range made {
		if _, over := load.deleted[id]; over || kept == 10 {
			continue
		}
		kept++
		b := f.brokers[kept%3]
		require.Len(t, f.at(b).delete(id, load.accepted[id], false).SuccessfulList, 1)
		f.at(b).awaitState(id, "DELETED")
		record := &messages.SessionRecord{}
		f.stored("session", id, record)
		require.Equal(t, "deleted", record.GetState())
		require.True(t, noted(record), "what the later version wrote is lost")
		require.True(t, noted(record.GetSpec()), "what the later version wrote is lost")
	}
	t.Logf("%d records of the later version were changed by this one and kept what it does not know", kept)
	require.Positive(t, kept)
}

// stored reads a record past the brokers.
func (f *fleet) stored(kind, id string, into proto.Message) {
	f.t.Helper()
	store, err := consul.Open(consul.Config{Addresses: []string{f.consul.Address()}})
	require.NoError(f.t, err)
	defer func() { _ = store.Close() }()
	record, err := store.Load(f.t.Context(), persistence.Key{Kind: kind, ID: id})
	require.NoError(f.t, err)
	require.NoError(f.t, proto.Unmarshal(record.Data, into))
}

// noted says whether the field of the later version is in a message.
func noted(m proto.Message) bool {
	for unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0; {
		number, kind, n := protowire.ConsumeTag(unknown)
		size := protowire.ConsumeFieldValue(number, kind, unknown[n:])
		if number == noteField {
			text, _ := protowire.ConsumeString(unknown[n:])
			return text == noteText
		}
		unknown = unknown[n+size:]
	}
	return false
}

// ids are all accepted sessions.
func (l *load) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.accepted))
}

// F46, F47: in the middle of an upgrade every operation works through either broker, on
// hosts whose agents are two minor versions older or newer than their broker.
func TestFleet_OfTwoVersionsServesEveryOperation(t *testing.T) {
	t.Parallel()
	after := next.build(t)
	f := startFleetOf(t, 0, brokerProgram, after.broker)
	ours, later := f.brokers[0], f.brokers[1]
	later.statementFile = ours.statementFile
	hosts := map[string]*host{
		"ours-ours":   ours.startHost("ours-ours", hostOptions{perUser: -1}),
		"ours-later":  ours.startHost("ours-later", hostOptions{perUser: -1, agent: after.agent}),
		"later-ours":  later.startHost("later-ours", hostOptions{perUser: -1}),
		"later-later": later.startHost("later-later", hostOptions{perUser: -1, agent: after.agent}),
	}
	for _, b := range f.brokers { // both: a session is placed by its owner, who hears of a host a moment after or before the others
		for name := range hosts {
			f.at(b).awaitServer(name, "AVAILABLE", "")
		}
	}
	for _, b := range f.brokers {
		for _, h := range hosts {
			f.operate(b, h) // the session falls to either broker
		}
	}
	require.Contains(t, ours.log.String(), "sent a message that this one does not know; is it newer?")
	await(t, "the refusal of a message that is not known", func() error {
		if !strings.Contains(later.log.String(), messages.CodeUnknownMessage) {
			return errors.New("it did not come")
		}
		return nil
	})
	require.NotContains(t, f.logs(), "panic")
}

// operate does with one host all that a client can do, at one broker.
func (f *fleet) operate(b *broker, h *host) {
	f.t.Helper()
	c := f.at(b)
	id := c.created(virtual("alice", object{"Requirements": "tag:host = '" + h.name + "'"}))
	for _, other := range f.brokers {
		f.at(other).awaitState(id, "READY")
	}
	h.awaitSession(id, true)
	data := call[connectionData](c, http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil)
	require.Zero(f.t, connect(f.t, h, data).code)
	pictures := call[shots](c, http.MethodPost, "/getSessionScreenshots", list{object{"SessionId": id}})
	require.Len(f.t, pictures.SuccessfulList, 1)
	file := base64.StdEncoding.EncodeToString([]byte("[permissions]\n%owner% allow builtin\nbob allow builtin\n"))
	changed := call[results](c, http.MethodPut, "/sessionPermissions", list{object{"SessionId": id, "Owner": "alice", "PermissionsFile": file}})
	require.Len(f.t, changed.SuccessfulList, 1)
	server := list{object{"ServerId": c.awaitServer(h.name, "AVAILABLE", "").ID, "Force": true}}
	require.Len(f.t, call[serverResults](c, http.MethodPost, "/closeServers", server).SuccessfulList, 1)
	for _, other := range f.brokers {
		f.at(other).awaitServer(h.name, "UNAVAILABLE", "SERVER_CLOSED")
	}
	require.Len(f.t, call[serverResults](c, http.MethodPost, "/openServers", list{object{"ServerId": server[0].(object)["ServerId"]}}).SuccessfulList, 1)
	require.Len(f.t, c.delete(id, "alice", false).SuccessfulList, 1)
	for _, other := range f.brokers {
		f.at(other).awaitState(id, "DELETED")
		f.at(other).awaitServer(h.name, "AVAILABLE", "")
	}
	h.awaitSession(id, false)
}
