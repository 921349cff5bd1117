//go:build fleet

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"opensessionmanager/cmd/internal/history"
	"opensessionmanager/messages"
)

// actor is one client. The n-th operation of a client is the same in each run with the
// same seed, and concerns the same place of the list of sessions, where another session
// may stand.
type actor struct {
	r      *historyRun
	number int
	n      int        // operations so far
	random *rand.Rand // of this operation
}

// target is a session that clients know.
type target struct{ id, owner string }

// recent is how far back in the list of sessions clients choose.
const recent = 14

func (r *historyRun) work(ctx context.Context, number int) {
	a := &actor{r: r, number: number}
	for ; ctx.Err() == nil; a.n++ {
		a.random = rand.New(rand.NewPCG(r.plan.seed, uint64(number+1)<<32|uint64(a.n)))
		a.act(ctx)
		sleepOrEnd(ctx, time.Duration(a.random.IntN(40))*time.Millisecond)
	}
}

func sleepOrEnd(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// act draws all its numbers before it looks at anything.
func (a *actor) act(ctx context.Context) {
	kind, at := a.random.IntN(100), a.random.IntN(recent)
	host, owner := a.r.plan.hosts[a.random.IntN(len(a.r.plan.hosts))].name, owners[a.random.IntN(len(owners))]
	stray, force, dice := a.random.IntN(10) == 0, a.random.IntN(2) == 0, a.random.IntN(1000)
	if kind < 28 {
		a.create(ctx, owner, host, dice)
		return
	}
	if kind < 36 {
		a.switchServer(ctx, host, dice%3 == 0, force)
		return
	}
	if kind < 42 {
		a.describeServers(ctx, host, dice%2 == 0)
		return
	}
	if kind < 48 {
		a.describe(ctx, nil, dice)
		return
	}
	s, ok := a.r.target(at)
	if !ok {
		return
	}
	if stray {
		s.owner = "nobody"
	}
	switch {
	case kind < 66:
		a.delete(ctx, s, stray, force)
	case kind < 78:
		a.permit(ctx, s, stray)
	case kind < 84:
		a.connect(ctx, s)
	case kind < 88:
		a.r.peek(a.number, s.id)
	default:
		a.describe(ctx, []string{s.id}, dice)
	}
}

func (a *actor) create(ctx context.Context, owner, host string, dice int) {
	name := fmt.Sprintf("session-%d-%d", a.number, a.n)
	item := object{"Name": name, "Owner": owner, "Type": "VIRTUAL"}
	if dice%7 == 0 {
		item["Type"] = "CONSOLE"
	}
	switch dice % 5 {
	case 0, 1:
		item["Requirements"] = "tag:host = '" + host + "'"
	case 2:
		item["Requirements"] = "tag:pool = 'a'"
	}
	queued := dice%11 == 0
	item["EnqueueRequest"] = queued
	key, tries := "", 1
	if dice%3 != 0 {
		key, tries = "key-"+name, 3
	}
	for range tries {
		op := history.Operation{Kind: history.Create, Name: name, Owner: owner, MayFail: queued || a.r.plan.rough || a.r.plan.impatient}
		var out results
		a.exchange(ctx, &op, http.MethodPost, "/createSessions", key, list{item}, func(body []byte) (failures []failure, err error) {
			err = json.Unmarshal(body, &out)
			return out.UnsuccessfulList, err
		})
		if op.Outcome == history.Done {
			op.Session = out.SuccessfulList[0].ID
			a.r.learn(target{op.Session, owner})
		}
		a.r.record.Add(op)
		if op.Outcome == history.Refused || op.Outcome == history.Done && dice%10 != 1 || ctx.Err() != nil {
			return
		}
		a.r.retries.Add(1)
	}
}

func (a *actor) delete(ctx context.Context, s target, stray, force bool) {
	a.change(ctx, history.Operation{Kind: history.Delete, Session: s.id, Owner: s.owner, Stray: stray, Force: force},
		http.MethodPost, "/deleteSessions", object{"SessionId": s.id, "Owner": s.owner, "Force": force})
}

func (a *actor) permit(ctx context.Context, s target, stray bool) {
	text := fmt.Sprintf("[permissions]\nuser-%d-%d allow builtin\n", a.number, a.n)
	a.change(ctx, history.Operation{Kind: history.Permit, Session: s.id, Owner: s.owner, Stray: stray, Text: text},
		http.MethodPut, "/sessionPermissions", object{"SessionId": s.id, "Owner": s.owner, "PermissionsFile": base64.StdEncoding.EncodeToString([]byte(text))})
}

func (a *actor) switchServer(ctx context.Context, host string, closed, force bool) {
	id := a.r.serverIDs[host]
	if closed {
		a.change(ctx, history.Operation{Kind: history.CloseServer, Server: id, Force: force},
			http.MethodPost, "/closeServers", object{"ServerId": id, "Force": force})
		return
	}
	a.change(ctx, history.Operation{Kind: history.OpenServer, Server: id}, http.MethodPost, "/openServers", object{"ServerId": id})
}

// change sends one item and records what became of it.
func (a *actor) change(ctx context.Context, op history.Operation, method, path string, item object) {
	a.exchange(ctx, &op, method, path, "", list{item}, func(body []byte) ([]failure, error) {
		var out struct{ UnsuccessfulList []failure }
		err := json.Unmarshal(body, &out)
		return out.UnsuccessfulList, err
	})
	a.r.record.Add(op)
}

func (a *actor) connect(ctx context.Context, s target) {
	op := history.Operation{Kind: history.Connect, Session: s.id}
	a.exchange(ctx, &op, http.MethodGet, "/sessionConnectionData/"+s.id+"/"+owners[0], "", nil, func([]byte) ([]failure, error) { return nil, nil })
	a.r.record.Add(op)
}

// describe asks for some sessions, or in pages for all; an answer that was lost says
// nothing.
func (a *actor) describe(ctx context.Context, ids []string, dice int) {
	op := history.Operation{Kind: history.Sessions, IDs: ids, Seen: map[string]history.Sight{}, Call: a.r.record.Now()}
	request, token := object{}, ""
	if ids != nil {
		request["SessionIds"] = ids
	} else {
		request["MaxResults"] = 10 + dice%300
	}
	for first := true; first || token != ""; first = false {
		request["NextToken"] = token
		page, called := op, op.Call
		var out describedSessions
		a.exchange(ctx, &page, http.MethodPost, "/describeSessions", "", request, func(body []byte) ([]failure, error) {
			return nil, json.Unmarshal(body, &out)
		})
		if page.Outcome != history.Done {
			return
		}
		for _, s := range out.Sessions {
			if _, twice := op.Seen[s.ID]; twice {
				a.r.wrong("session %s was listed twice", s.ID)
			}
			op.Seen[s.ID] = sightOf(s)
		}
		op.Call, op.Return, op.Client, op.Broker, op.Outcome = called, page.Return, page.Client, page.Broker, history.Done
		token = out.NextToken
	}
	a.r.record.Add(op)
}

func sightOf(s session) history.Sight {
	sight := history.Sight{State: s.State, Name: s.Name, Reason: s.StateReason}
	if s.Server != nil {
		sight.Server = s.Server.ID
	}
	return sight
}

func (a *actor) describeServers(ctx context.Context, host string, all bool) {
	op := history.Operation{Kind: history.Servers}
	request := object{}
	if !all {
		op.IDs = []string{a.r.serverIDs[host]}
		request["ServerIds"] = op.IDs
	}
	a.exchange(ctx, &op, http.MethodPost, "/describeServers", "", request, func(body []byte) ([]failure, error) {
		var out describedServers
		err := json.Unmarshal(body, &out)
		op.Seen = map[string]history.Sight{}
		for _, s := range out.Servers {
			op.Seen[s.ID] = availability(s)
			a.r.checkCounts(s)
		}
		return nil, err
	})
	if op.Outcome == history.Done {
		a.r.record.Add(op)
	}
}

func availability(s server) history.Sight {
	if s.UnavailabilityReason != "" {
		return history.Sight{State: s.UnavailabilityReason}
	}
	return history.Sight{State: s.Availability}
}

// exchange sends one request to some broker and fills in what is known of it.
func (a *actor) exchange(ctx context.Context, op *history.Operation, method, path, key string, body any, read func([]byte) ([]failure, error)) {
	op.Client, op.Broker = a.number, a.r.choose(a.random)
	op.Call = a.r.record.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), historyPatience)
	defer cancel()
	answer, err := a.r.clients[op.Broker].sendKeyed(ctx, method, path+"?explain=true", key, body)
	op.Return = a.r.record.Now()
	switch {
	case err != nil:
		op.Outcome, op.Code = lost(err, key)
	case answer.status == http.StatusOK:
		op.Outcome = history.Done
		failures, err := read(answer.body)
		if err != nil {
			a.r.wrong("%s: %v: %s", path, err, answer.body)
		}
		if len(failures) > 0 {
			op.Code = failures[0].FailureCode
			op.Outcome = verdict(op.Code)
		}
	default:
		op.Code = answer.header.Get("X-Error-Code")
		op.Outcome = verdict(op.Code)
		if op.Outcome == history.Unknown && answer.status < 500 && answer.status != http.StatusRequestTimeout && answer.status != http.StatusTooManyRequests {
			a.r.wrong("%s %s: status %d: %s", method, path, answer.status, answer.body)
		}
	}
	a.r.count(*op)
}

// historyPatience is how long clients wait for an answer.
const historyPatience = 6 * time.Second

// lost: a broker that nobody could connect to did nothing. With a key, though, it may
// have been asked before: the library then sends again after a connection broke.
func lost(err error, key string) (history.Outcome, string) {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" && key == "" {
		return history.Refused, "NO_CONNECTION"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return history.Unknown, "NO_ANSWER_IN_TIME"
	}
	return history.Unknown, "CONNECTION_LOST"
}

// definite are the refusals after which nothing happens any more.
var definite = []string{messages.CodeSessionNotFound, messages.CodeSessionNotReady, messages.CodeSessionDeleted, messages.CodeSessionExists,
	messages.CodeKeyReused, messages.CodeNoServer, messages.CodeServerFull, messages.CodeOwnerLimit, messages.CodeServerUnavailable,
	messages.CodeServerNotFound, messages.CodeServerHasSessions, messages.CodeQueueFull, messages.CodeInvalid, messages.CodeRequirements}

func verdict(code string) history.Outcome {
	if slices.Contains(definite, code) {
		return history.Refused
	}
	return history.Unknown
}
