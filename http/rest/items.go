package rest

import (
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"

	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// Requests that change something are lists, and each item succeeds or fails alone
// with status 200 (contract section 1.1).

// result is the outcome of one item, from the fleet.
type result interface {
	comparable
	GetRefusal() *messages.Refusal
}

// outcome is the same, seen from the request: exactly one of both is set.
type outcome[R result] struct {
	result  R
	refusal *messages.Refusal
}

// dispatch makes a command of every item that is in order, gives the commands to
// the fleet together, and puts its results back beside the items.
func dispatch[In, Command any, R result](
	items []In,
	command func(i int, item *In) (Command, *messages.Refusal),
	do func([]Command) []R,
) []outcome[R] {
	outcomes := make([]outcome[R], len(items))
	commands := make([]Command, 0, len(items))
	places := make([]int, 0, len(items))
	for i := range items {
		cmd, refusal := command(i, &items[i])
		if refusal != nil {
			outcomes[i].refusal = refusal
			continue
		}
		commands, places = append(commands, cmd), append(places, i)
	}
	if len(commands) == 0 {
		return outcomes
	}
	results := do(commands)
	for n, i := range places {
		outcomes[i] = resultAt(results, n)
	}
	return outcomes
}

func resultAt[R result](results []R, n int) outcome[R] {
	var none R
	if n >= len(results) || results[n] == none {
		return outcome[R]{refusal: &messages.Refusal{Code: messages.CodeInternal}}
	}
	if refusal := results[n].GetRefusal(); refusal != nil {
		return outcome[R]{refusal: refusal}
	}
	return outcome[R]{result: results[n]}
}

// answerItems writes both lists. success and echo write one item's members; echo
// those that say which item failed. about is for the audit trail.
func answerItems[R result](c *call, outcomes []outcome[R], about func(i int) audit.Event,
	success func(b []byte, i int, r R) []byte, echo func(b []byte, i int) []byte) error {
	c.items = len(outcomes)
	for i := range outcomes {
		c.recordItem(about(i), outcomes[i].refusal)
	}
	if refusal := whollyRefused(outcomes); refusal != nil {
		for i := range outcomes {
			c.failures = append(c.failures, failure{item: i, refusal: outcomes[i].refusal})
		}
		return refuse(refusal)
	}
	c.beginAnswer()
	c.out = append(appendName(c.out, "SuccessfulList"), '[')
	for i := range outcomes {
		if outcomes[i].refusal == nil {
			c.out = append(closeObject(success(append(c.out, '{'), i, outcomes[i].result)), ',')
		}
	}
	c.out = append(closeArray(c.out), ',')
	c.out = append(appendName(c.out, "UnsuccessfulList"), '[')
	for i := range outcomes {
		if refusal := outcomes[i].refusal; refusal != nil {
			c.failures = append(c.failures, failure{item: i, refusal: refusal})
			c.out = append(closeObject(c.appendRefusal(echo(append(c.out, '{'), i), refusal)), ',')
		}
	}
	c.out = append(closeArray(c.out), ',')
	c.endAnswer()
	return nil
}

// appendRefusal writes why an item failed. FailureCode is the vendor's member for
// servers; elsewhere it is only for those who ask.
func (c *call) appendRefusal(b []byte, refusal *messages.Refusal) []byte {
	if c.explain || c.op == opOpenServers || c.op == opCloseServers {
		b = appendText(b, "FailureCode", refusal.GetCode())
	}
	b = appendText(b, "FailureReason", judge(c.op, refusal).text)
	if c.explain {
		b = appendExplanation(b, refusal)
	}
	return b
}

// whollyRefused returns the refusal of a request of which nothing happened and
// nothing could: every item met a broker that cannot work now.
func whollyRefused[R result](outcomes []outcome[R]) *messages.Refusal {
	for i := range outcomes {
		if r := outcomes[i].refusal; r == nil || !verdicts[r.GetCode()].wholly {
			return nil
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	return outcomes[0].refusal
}

// appendEcho writes a request item back under a name.
func appendEcho(b []byte, name string, item any) []byte {
	encoded, err := json.Marshal(item)
	if err != nil {
		encoded = []byte("{}") // cannot be: it was decoded from JSON
	}
	return append(append(appendName(b, name), encoded...), ',')
}

func badItem(text string) *messages.Refusal {
	return &messages.Refusal{Code: messages.CodeInvalid, Text: text}
}

// maxIDLength bounds ids in bytes; longer ones belong to nothing.
const maxIDLength = 512

// plausible tells an id that could exist from one that needs no search.
func plausible(id string) bool {
	return id != "" && len(id) <= maxIDLength && strings.IndexFunc(id, unicode.IsControl) < 0
}

// checkSession looks at the two members that name somebody's session. An owner
// that cannot be one gets the answer of a session that is not there.
func checkSession(id, owner string) *messages.Refusal {
	switch {
	case id == "":
		return badItem("SessionId is required")
	case owner == "":
		return badItem("Owner is required")
	case !plausible(id) || !plausible(owner):
		return &messages.Refusal{Code: messages.CodeSessionNotFound, Detail: "No session has this id and owner"}
	}
	return nil
}
