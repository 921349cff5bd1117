//go:build fleet

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/internal/agentproto"
)

func TestFleet_BehindHAProxyThatPassesTLSThrough(t *testing.T) { behind(t, haproxyThrough) }
func TestFleet_BehindHAProxyThatTerminatesTLS(t *testing.T)    { behind(t, haproxyEnds) }
func TestFleet_BehindNginxThatPassesTLSThrough(t *testing.T)   { behind(t, nginxThrough) }
func TestFleet_BehindNginxThatTerminatesTLS(t *testing.T)      { behind(t, nginxEnds) }

// behind tells the same story with each of the shipped files: whoever knows only the
// balancer does not notice which broker answers, nor that one dies (F1, promises 1 to 3).
func behind(t *testing.T, s setUp) {
	t.Parallel()
	f, front := startBehind(t, s, 6)
	f.namesCallers(s, front)

	through := *f // for which the balancer is the only broker
	through.brokers = []*broker{front}
	load := through.load(4)
	load.awaitAccepted(60)
	victim := f.brokers[2]
	died := time.Now()
	victim.proc.kill()
	f.awaitAtWork(front, load, died)
	load.awaitAccepted(60)
	load.report(died)
	victim.start()
	load.awaitAccepted(20)
	load.check(front)
	require.Empty(t, load.failed, "requests that failed twice")

	if s.asksHealth {
		f.readsWithoutConsul(front, load)
	}
	f.realHost(front)
	require.NotContains(t, f.logs(), "panic")
}

// namesCallers: what the log says about refused callers is where they really come from,
// whatever they say (F39).
func (f *fleet) namesCallers(s setUp, front *broker) {
	f.t.Helper()
	c := front.from(callerSource)
	for path, text := range map[string]string{"/describeSessions": "API request not authorized", agentproto.PathSocket: "agent refused"} {
		method := http.MethodPost
		if path == agentproto.PathSocket {
			method = http.MethodGet
			c.url = "https://" + front.agentAddress()
		} else {
			c.url = front.url()
		}
		request, err := http.NewRequestWithContext(f.t.Context(), method, c.url+path, strings.NewReader(""))
		require.NoError(f.t, err)
		request.Header.Set("X-Forwarded-For", "6.6.6.6, 6.6.6.7")
		answer, err := c.http.Do(request)
		require.NoError(f.t, err)
		require.NoError(f.t, answer.Body.Close())
		require.Equal(f.t, http.StatusUnauthorized, answer.StatusCode)
		await(f.t, "the refusal in a log", func() error {
			for line := range strings.SplitSeq(f.logs(), "\n") {
				if strings.Contains(line, text) && strings.Contains(line, callerSource) {
					return nil
				}
			}
			return errors.New(text + " of " + callerSource + " is not there")
		})
	}
	require.NotContains(f.t, f.logs(), "6.6.6.")
}

// awaitAtWork waits until all agents do again what brokers ask them to.
func (f *fleet) awaitAtWork(front *broker, load *load, since time.Time) {
	f.t.Helper()
	for name, h := range f.hosts {
		var id string
		await(f.t, name+" to be at work", func() error {
			if s := h.agent.Status(); !s.Connected {
				return errors.New("it is not connected")
			}
			owner := "worker-" + name
			a, err := f.at(front).try(http.MethodPost, "/createSessions?explain=true", list{virtual(owner, object{"Requirements": "tag:host = '" + name + "'"})})
			if err == nil && countAccepted(a) == 0 {
				return errors.New(string(a.body))
			}
			if err != nil {
				return err
			}
			var out results
			if err := json.Unmarshal(a.body, &out); err != nil {
				return err
			}
			id = out.SuccessfulList[0].ID
			load.mu.Lock()
			load.accepted[id], load.deleted[id] = owner, false
			load.mu.Unlock()
			return nil
		})
		f.at(front).awaitState(id, "READY")
		load.mu.Lock()
		delete(load.deleted, id) // from now on it may be deleted like any other
		load.mu.Unlock()
	}
	f.t.Logf("a session was made on each host %v after the death of a broker", time.Since(since).Round(time.Millisecond))
}

// readsWithoutConsul: brokers that could not write to Consul are not well, and the balancer
// finds none that is, yet still lets read (F19).
func (f *fleet) readsWithoutConsul(front *broker, load *load) {
	f.t.Helper()
	f.consul.Kill()
	await(f.t, "the brokers to be unwell", func() error {
		well := 0
		for _, b := range f.brokers {
			if b.healthy() == nil {
				well++
				_, _ = f.at(b).try(http.MethodPost, "/createSessions", list{virtual("nobody")}) // it finds out
			}
		}
		return problem(make([]string, well))
	})
	wait(f.t, 3*time.Second) // until the balancer has found out
	all, err := f.at(front).sessions()
	require.NoError(f.t, err, "lists can be read")
	for id := range load.accepted {
		require.Contains(f.t, all, id)
	}
	f.consul.Restart()
	await(f.t, "a create to be accepted", func() error {
		a, err := f.at(front).try(http.MethodPost, "/createSessions?explain=true", list{virtual("somebody")})
		if err == nil && countAccepted(a) == 0 {
			err = errors.New(string(a.body))
		}
		return err
	})
	for i, b := range f.brokers { // each finds out for itself that it can write again
		await(f.t, fmt.Sprintf("broker %d to be well", i), b.healthy)
	}
}

// realHost: an agent program connects, a user with a token is checked by the DCV server,
// and a large picture comes back, all through the balancer.
func (f *fleet) realHost(front *broker) {
	t := f.t
	t.Helper()
	front.api = f.at(front)
	h := front.startHost("real", hostOptions{tags: map[string]string{"color": "blue"}})
	front.api.awaitServer("real", "AVAILABLE", "")
	id := front.api.created(virtual("alice", object{"Requirements": "tag:color = 'blue'"}))
	front.api.awaitState(id, "READY")
	data := call[connectionData](front.api, http.MethodGet, "/sessionConnectionData/"+id+"/alice", nil)
	o := connect(t, h, data)
	require.Zero(t, o.code, o.stderr)
	require.Contains(t, o.stdout, "as alice")
	o = connect(t, h, connectionData{data.Session, "made-up"})
	require.NotZero(t, o.code)

	r := call[shots](front.api, http.MethodPost, "/getSessionScreenshots", list{object{"SessionId": id, "MaxWidth": 3840, "MaxHeight": 2160}})
	require.Len(t, r.SuccessfulList, 1, "%+v", r.UnsuccessfulList)
	shot := r.SuccessfulList[0].SessionScreenshot.Images[0]
	shape, _, err := image.DecodeConfig(bytes.NewReader(shot.Data))
	require.NoError(t, err)
	t.Logf("a screenshot of %d x %d pixels, %d bytes", shape.Width, shape.Height, len(shot.Data))
	require.Greater(t, len(shot.Data), 20_000)
	front.api.delete(id, "alice", false)
	h.awaitSession(id, false)
}

// The certificates' paths in the shipped files exist for the fleet's own CA and the
// balancer's certificate; anything else would be found by nobody.
func TestFleet_ShippedBalancerFilesNameTheirKeys(t *testing.T) {
	t.Parallel()
	for _, s := range []setUp{haproxyThrough, haproxyEnds, nginxThrough, nginxEnds} {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", s.file))
		require.NoError(t, err)
		for _, line := range s.settings() {
			key, _, _ := strings.Cut(line, " ")
			require.Contains(t, string(data), "#   "+key, s.file)
		}
	}
}
