// Package gateway turns the operations of the API into questions to grains: fan out,
// gather, and say for each item what became of it. Reads are served from the roster
// and ask nobody.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/actors/roster"
	"opensessionmanager/cluster/fleet"
	"opensessionmanager/messages"
)

// lookAgain is how often a request looks that waits for this broker to be up to date.
const lookAgain = 5 * time.Millisecond

// Asker reaches grains; *fleet.Fleet implements it.
type Asker interface {
	Ask(ctx context.Context, calls []fleet.Call) []any
}

// Reader has the picture of the fleet; *actors.Roster implements it.
type Reader interface {
	Snapshot() *roster.Snapshot
	// Behind is nil while the picture shows all that any broker has answered.
	Behind() error
	// Contact is nil while this broker may act for the fleet.
	Contact() error
	// StoreFails says that nothing can be stored from here at the moment.
	StoreFails() bool
}

// Config bounds what one broker does at once.
type Config struct {
	// Wait is how long a request may take; asking for a screenshot takes the longest.
	Wait time.Duration
	// Patience is how much of that a request waits while this broker may be behind the
	// others: long enough for a broker that died to be taken out of the view.
	Patience time.Duration
	// MaxInFlight is how many items of all requests may be under way: no queue below
	// is bounded by the library, so this one is.
	MaxInFlight int
	// Screenshots is how many screenshots are on their way to this broker at once.
	Screenshots int
}

// DefaultConfig holds our choices.
func DefaultConfig() Config {
	return Config{Wait: 25 * time.Second, Patience: 2 * time.Second, MaxInFlight: 20_000, Screenshots: 32}
}

// Gateway implements the fleet as http/rest sees it.
type Gateway struct {
	cfg         Config
	grains      Asker
	reader      Reader
	inFlight    chan struct{} // one token per item under way
	screenshots chan struct{}
}

// New returns a gateway over grains and reader.
func New(grains Asker, reader Reader, cfg Config) *Gateway {
	return &Gateway{cfg: cfg, grains: grains, reader: reader,
		inFlight: make(chan struct{}, cfg.MaxInFlight), screenshots: make(chan struct{}, cfg.Screenshots)}
}

// Snapshot is the present picture. While it may lack what another broker answered the
// request waits, and is refused in the end: a client would take what is missing for
// deleted (promise 3).
func (g *Gateway) Snapshot() (*roster.Snapshot, *messages.Refusal) {
	if !g.upToDate() {
		return nil, behind()
	}
	return g.reader.Snapshot(), nil
}

// upToDate waits for a while until the picture shows everything.
func (g *Gateway) upToDate() bool { return within(g.cfg.Patience, g.reader.Behind) }

// inContact waits for a while until this broker may act for the fleet. Without
// that nothing is asked of grains: who owns them is not known here, and the question
// would wait in vain until the client has gone.
func (g *Gateway) inContact() bool { return within(g.cfg.Patience, g.reader.Contact) }

// within says whether what is wrong becomes nil in time.
func within(patience time.Duration, wrong func() error) bool {
	if wrong() == nil {
		return true
	}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		select {
		case <-look.C:
			if wrong() == nil {
				return true
			}
		case <-end.C:
			return false
		}
	}
}

func behind() *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeNotReady, RetryAfterMs: 1000,
		Detail: "this broker may not have seen yet what others answered"}
}

func outOfContact() *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeNotReady, RetryAfterMs: 1000,
		Detail: "this broker is out of contact with the fleet"}
}

// CreateSessions has each session's grain come to life, unless it is known that it could
// not be kept: then the client is told so at once instead of after the store's time limit.
func (g *Gateway) CreateSessions(ctx context.Context, in []*messages.CreateSession) []*messages.SessionResult {
	var answers []any
	switch {
	case len(in) == 0:
	case !g.inContact():
		answers = all(len(in), outOfContact())
	case g.reader.StoreFails():
		answers = all(len(in), &messages.Refusal{Code: messages.CodeStoreUnavailable,
			Detail: "the store does not take anything at the moment", RetryAfterMs: 1000})
	default:
		answers = g.send(ctx, len(in), func(i int) fleet.Call { return sessionCall(in[i].GetSessionId(), in[i]) })
	}
	out := sessions(answers)
	g.withdraw(in, out)
	return out
}

// withdraw deletes creates whose outcome is unknown: the client is told that they
// failed, so they must not come to be later (F41). One with an Idempotency-Key is left
// alone: the client may have asked again already, and may have been told that it is there.
func (g *Gateway) withdraw(in []*messages.CreateSession, out []*messages.SessionResult) {
	var calls []fleet.Call
	for i, result := range out {
		if result.GetRefusal().GetCode() == messages.CodeTimeout && !in[i].GetRepeatable() {
			calls = append(calls, sessionCall(in[i].GetSessionId(), &messages.DeleteSession{SessionId: in[i].GetSessionId(),
				Owner: in[i].GetSpec().GetOwner(), Force: true, RequestedBy: "broker: create timed out"}))
		}
	}
	if len(calls) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.grains.Ask(ctx, calls)
	}
}

// DeleteSessions asks each session to end.
func (g *Gateway) DeleteSessions(ctx context.Context, in []*messages.DeleteSession) []*messages.SessionResult {
	for _, item := range in {
		item.RequestId = rand.Text() // the question may be sent twice
	}
	return g.known(ctx, len(in), func(i int) (string, proto.Message) { return in[i].GetSessionId(), in[i] })
}

// UpdateSessionPermissions asks each session to have its host apply the file.
func (g *Gateway) UpdateSessionPermissions(ctx context.Context, in []*messages.UpdateSessionPermissions) []*messages.SessionResult {
	for _, item := range in {
		item.RequestId = hostRequestID()
	}
	return g.known(ctx, len(in), func(i int) (string, proto.Message) { return in[i].GetSessionId(), in[i] })
}

// hostRequestID is an id as agents know requests by (design section 6).
func hostRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

func (g *Gateway) known(ctx context.Context, n int, item func(int) (string, proto.Message)) []*messages.SessionResult {
	return sessions(g.askKnown(ctx, messages.KindSession, n, item))
}

func (g *Gateway) servers(ctx context.Context, n int, item func(int) (string, proto.Message)) []*messages.ServerResult {
	out := make([]*messages.ServerResult, n)
	for i, answer := range g.askKnown(ctx, messages.KindServer, n, item) {
		out[i] = serverResult(answer)
	}
	return out
}

// askKnown asks only what the roster knows: an id from outside that never was must not wake
// a grain, let alone read the store.
func (g *Gateway) askKnown(ctx context.Context, kind string, n int, item func(int) (string, proto.Message)) []any {
	complete := g.upToDate()
	if !complete && g.reader.Contact() != nil {
		return all(n, outOfContact())
	}
	snapshot, out := g.reader.Snapshot(), make([]any, n)
	var ask []int
	for i := range n {
		switch id, _ := item(i); {
		case shows(snapshot, kind, id):
			ask = append(ask, i)
		case !complete:
			out[i] = behind()
		default:
			out[i] = unknown(kind)
		}
	}
	answers := g.ask(ctx, len(ask), func(k int) fleet.Call {
		id, msg := item(ask[k])
		return fleet.Call{Kind: kind, ID: id, Msg: msg}
	})
	for k, i := range ask {
		out[i] = answers[k]
	}
	return out
}

func shows(snapshot *roster.Snapshot, kind, id string) (ok bool) {
	if kind == messages.KindServer {
		_, ok = snapshot.Server(id)
	} else {
		_, ok = snapshot.Session(id)
	}
	return ok
}

func unknown(kind string) *messages.Refusal {
	if kind == messages.KindServer {
		return &messages.Refusal{Code: messages.CodeServerNotFound, Detail: "no server with this id"}
	}
	return &messages.Refusal{Code: messages.CodeSessionNotFound, Detail: "no session with this id and owner"}
}

// OpenServers lets servers take sessions again.
func (g *Gateway) OpenServers(ctx context.Context, in []*messages.OpenServer) []*messages.ServerResult {
	for _, item := range in {
		item.RequestId = rand.Text()
	}
	return g.servers(ctx, len(in), func(i int) (string, proto.Message) { return in[i].GetServerId(), in[i] })
}

// CloseServers keeps servers from taking sessions.
func (g *Gateway) CloseServers(ctx context.Context, in []*messages.CloseServer) []*messages.ServerResult {
	for _, item := range in {
		item.RequestId = rand.Text()
	}
	return g.servers(ctx, len(in), func(i int) (string, proto.Message) { return in[i].GetServerId(), in[i] })
}

// ask sends if this broker may act for the fleet.
func (g *Gateway) ask(ctx context.Context, n int, call func(int) fleet.Call) []any {
	if n == 0 {
		return nil
	}
	if !g.inContact() {
		return all(n, outOfContact())
	}
	return g.send(ctx, n, call)
}

// send asks what the bound on items under way allows and refuses the rest.
func (g *Gateway) send(ctx context.Context, n int, call func(int) fleet.Call) []any {
	if !g.enter(n) {
		return all(n, &messages.Refusal{Code: messages.CodeBusy, Detail: "the broker has too much under way", RetryAfterMs: 1000})
	}
	defer g.leave(n)
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Wait)
	defer cancel()
	calls := make([]fleet.Call, n)
	for i := range calls {
		calls[i] = call(i)
	}
	return g.grains.Ask(ctx, calls)
}

// all is the same answer n times.
func all(n int, refusal *messages.Refusal) []any {
	answers := make([]any, n)
	for i := range answers {
		answers[i] = refusal
	}
	return answers
}

func (g *Gateway) enter(n int) bool {
	for i := range n {
		select {
		case g.inFlight <- struct{}{}:
		default:
			g.leave(i)
			return false
		}
	}
	return true
}

func (g *Gateway) leave(n int) {
	for range n {
		<-g.inFlight
	}
}

func sessionCall(id string, msg proto.Message) fleet.Call {
	return fleet.Call{Kind: messages.KindSession, ID: id, Msg: msg}
}

// TakeScreenshots asks the hosts for pictures, a bounded number at a time.
func (g *Gateway) TakeScreenshots(ctx context.Context, in []*messages.TakeScreenshot) []*messages.SessionResult {
	out := make([]*messages.SessionResult, len(in))
	var all sync.WaitGroup
	for i, item := range in {
		call, refused := g.screenshotCall(item)
		if refused != nil {
			out[i] = refused
			continue
		}
		select {
		case g.screenshots <- struct{}{}:
		case <-ctx.Done():
			out[i] = refuseSession(messages.CodeBusy, "too many screenshots at once")
			continue
		}
		all.Go(func() {
			defer func() { <-g.screenshots }()
			out[i] = sessionResult(g.ask(ctx, 1, func(int) fleet.Call { return call })[0])
		})
	}
	all.Wait()
	return out
}

func (g *Gateway) screenshotCall(item *messages.TakeScreenshot) (fleet.Call, *messages.SessionResult) {
	entry, ok := g.reader.Snapshot().Session(item.GetSessionId())
	if !ok && !g.upToDate() {
		return fleet.Call{}, &messages.SessionResult{Outcome: &messages.SessionResult_Refusal{Refusal: behind()}}
	}
	if !ok || entry.View.GetState() == messages.SessionState_SESSION_STATE_DELETED {
		return fleet.Call{}, refuseSession(messages.CodeSessionNotFound, "no session with this id")
	}
	if entry.View.GetState() != messages.SessionState_SESSION_STATE_READY {
		return fleet.Call{}, refuseSession(messages.CodeSessionNotReady, "a screenshot can be taken while the session is READY")
	}
	return fleet.Call{Kind: messages.KindServer, ID: entry.View.GetServerId(), Msg: &messages.ServerCommand{ServerId: entry.View.GetServerId(),
		Command: &messages.ServerCommand_Screenshot{Screenshot: &messages.ScreenshotRequest{SessionId: entry.View.GetDcvId(),
			MaxWidth: int32(min(item.GetMaxWidth(), 1<<15)), MaxHeight: int32(min(item.GetMaxHeight(), 1<<15)), Format: item.GetFormat()}}}}, nil
}
