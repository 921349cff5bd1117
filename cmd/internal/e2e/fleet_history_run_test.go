//go:build fleet

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/cmd/internal/history"
	"opensessionmanager/persistence/consul/consultest"
)

// historyRun is one fleet that lives through a plan while clients use it.
type historyRun struct {
	plan           *plan
	f              *fleet
	hosts          []*historyHost
	clients        []*client // by broker
	peers, consuls []*valve  // by broker
	serverIDs      map[string]string
	record         *history.Recorder
	logs           map[string]*logbook
	retries        atomic.Int64
	overcounted    atomic.Int64
	done           []string // faults, as they came

	mu       sync.Mutex
	down     map[int]bool
	targets  []target
	mistakes []string
	counts   map[string]int
}

// startHistory brings up a fleet as a plan describes it.
func startHistory(t *testing.T, p *plan) *historyRun {
	t.Helper()
	r := &historyRun{plan: p, serverIDs: map[string]string{}, record: history.NewRecorder(), logs: map[string]*logbook{},
		down: map[int]bool{}, counts: map[string]int{}}
	r.f = &fleet{t: t, consul: consultest.Start(t, consultest.Options{}), hosts: map[string]*simulated{}}
	r.f.terrain = terrain{settings: p.settings(), meet: func(int) []string { return nil }} // see prepare
	for range brokersAtFirst + 1 {                                                         // one joins later, if at all
		r.f.brokers = append(r.f.brokers, r.prepare())
		if len(r.f.brokers) == 1 {
			r.f.brokers[0].start()
		}
	}
	first := r.f.brokers[0]
	r.f.api = first.newClient("portal")
	first.statementFile = filepath.Join(first.dir, "statement")
	require.NoError(t, os.WriteFile(first.statementFile, []byte(first.newStatement()), 0o600))
	for _, b := range r.f.brokers[1:brokersAtFirst] {
		b.launch()
	}
	r.setDown(brokersAtFirst, true)
	for i, b := range r.f.brokers {
		r.clients = append(r.clients, r.f.at(b))
		r.logs[fmt.Sprint("broker-", i)] = b.log
	}
	for _, b := range r.f.brokers[:brokersAtFirst] {
		await(t, "a healthy broker", b.healthy)
		await(t, "the client to be known", func() error { _, err := r.f.at(b).servers(); return err })
	}
	for _, h := range p.hosts {
		r.hosts = append(r.hosts, r.startHost(h))
	}
	for _, b := range r.f.brokers[:brokersAtFirst] {
		for _, h := range p.hosts {
			r.serverIDs[h.name] = r.f.at(b).awaitServer(h.name, "AVAILABLE", "").ID
		}
	}
	return r
}

// prepare configures one more broker, which reaches Consul, and which others reach,
// through a valve each.
func (r *historyRun) prepare() *broker {
	port, consul := freePort(r.f.t), startValve(r.f.t, "127.0.0.1:0", r.f.consul.Address())
	r.peers = append(r.peers, startValve(r.f.t, fmt.Sprint("127.0.0.2:", port), fmt.Sprint("127.0.0.1:", port)))
	r.consuls = append(r.consuls, consul)
	return r.f.prepare("consul-address = "+consul.address(),
		fmt.Sprint("broker-to-broker-port = ", port), "broker-to-broker-advertised-host = 127.0.0.2")
}

// live has the clients work while the faults happen.
func (r *historyRun) live() {
	r.record = history.NewRecorder()
	for _, h := range r.hosts {
		h.dcv.clock = r.record
	}
	ctx, stop := context.WithCancel(r.f.t.Context())
	var working sync.WaitGroup
	for i := range r.plan.clients {
		working.Go(func() { r.work(ctx, i) })
	}
	r.perform(ctx)
	r.heal()
	stop()
	working.Wait()
}

// setDown is a load balancer finding out about brokers.
func (r *historyRun) setDown(broker int, down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[broker] = down
}

// choose takes any broker; one that is down nearly never, for there is little to learn.
func (r *historyRun) choose(random *rand.Rand) int {
	at, stubborn := random.IntN(len(r.clients)), random.IntN(25) == 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for range r.clients {
		if !r.down[at] || stubborn && at < brokersAtFirst {
			return at
		}
		at = (at + 1) % len(r.clients)
	}
	return at % brokersAtFirst
}

func (r *historyRun) learn(t target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = append(r.targets, t)
}

// target is one of the latest sessions, counted from the end.
func (r *historyRun) target(at int) (target, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.targets) == 0 {
		return target{}, false
	}
	return r.targets[len(r.targets)-1-at%min(recent, len(r.targets))], true
}

// wrong notes what no answer may say.
func (r *historyRun) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mistakes) < 100 {
		r.mistakes = append(r.mistakes, fmt.Sprintf(format, args...))
	}
}

func (r *historyRun) count(op history.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[strings.TrimSpace(fmt.Sprint(op.Kind, " ", op.Outcome, " ", op.Code))]++
}

// peek looks at the permissions of a session on its host.
func (r *historyRun) peek(client int, id string) {
	for _, h := range r.hosts {
		at := r.record.Now()
		if file, there := h.dcv.peek(id); there {
			r.record.Add(history.Operation{Client: client, Kind: history.Peek, Session: id, Text: file, Outcome: history.Done, Call: at, Return: r.record.Now()})
		}
	}
}

// checkCounts counts how often a broker's picture of a server exceeds its limits. That
// may be for a moment: a server's new owner may promise a place before it hears of a
// session that the old one had placed. The agent refuses then; the hosts' own records
// are what is held to the limits.
func (r *historyRun) checkCounts(s server) {
	for _, h := range r.plan.hosts {
		if limit := int(h.limits.MaxVirtual); h.name == s.tag("host") && (limit >= 0 && s.VirtualSessionCount > limit || s.ConsoleSessionCount > 1) {
			r.overcounted.Add(1)
		}
	}
}

// history is everything that was recorded.
func (r *historyRun) history() history.History {
	h := history.History{Seed: r.plan.seed, Operations: r.record.Operations(), Limits: map[string]history.Limits{},
		Forgets: r.plan.forgets, Doubles: r.plan.impatient || r.plan.rough}
	for _, host := range r.hosts {
		l := host.plan.limits
		h.Limits[host.plan.name] = history.Limits{Virtual: int(l.MaxVirtual), PerUser: int(l.MaxPerUser), Console: int(l.MaxConsole)}
		for _, s := range host.dcv.all() {
			s.Server = r.serverIDs[host.plan.name]
			h.Stays = append(h.Stays, s)
		}
	}
	return h
}

// summary says how much happened.
func (r *historyRun) summary(h history.History) string {
	unknown, refused := 0, 0
	for _, op := range h.Operations {
		switch op.Outcome {
		case history.Unknown:
			unknown++
		case history.Refused:
			refused++
		}
	}
	return fmt.Sprintf("%d operations, of which %d refused and %d without an answer, %d repeated, %d faults, %d sessions on %d hosts, %d times more counted than allowed",
		len(h.Operations), refused, unknown, r.retries.Load(), len(r.done), len(h.Stays), len(r.hosts), r.overcounted.Load())
}

// keep writes everything about a failed run into a folder; the logs are shown nowhere else.
func (r *historyRun) keep(h history.History, found []history.Finding) string {
	t := r.f.t
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("dcvsm-history-%d-%d", r.plan.seed, os.Getpid()))
	require.NoError(t, os.MkdirAll(folder, 0o700))
	data, err := json.MarshalIndent(h, "", " ")
	require.NoError(t, err)
	files := map[string]string{"history.json": string(data), "plan.txt": r.plan.String() + "\n\n" + strings.Join(r.done, "\n") + "\n"}
	for name, log := range r.logs {
		files[name+".log"] = log.String()
		log.reset()
	}
	files["consul.log"] = r.f.consul.Log()
	text := ""
	for _, f := range found {
		text += f.String() + "\n"
	}
	files["findings.txt"] = text
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	require.NoError(t, history.Draw(folder, found))
	return folder
}

// decide bounds the search of the checker for each session and server.
const decide = time.Minute

func (l *logbook) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}
