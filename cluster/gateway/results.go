package gateway

import (
	"errors"
	"fmt"
	"strings"

	"opensessionmanager/cluster/fleet"
	"opensessionmanager/messages"
)

func sessions(answers []any) []*messages.SessionResult {
	out := make([]*messages.SessionResult, len(answers))
	for i, a := range answers {
		out[i] = sessionResult(a)
	}
	return out
}

// sessionResult turns whatever a grain or an agent answered into an outcome.
func sessionResult(answer any) *messages.SessionResult {
	switch a := answer.(type) {
	case *messages.SessionView:
		return &messages.SessionResult{Outcome: &messages.SessionResult_Session{Session: a}}
	case *messages.SetPermissionsResponse:
		if a.GetResult().GetSuccess() {
			return &messages.SessionResult{Outcome: &messages.SessionResult_Session{Session: &messages.SessionView{}}}
		}
		return agentRefusal(a.GetResult())
	case *messages.ScreenshotResponse:
		if a.GetResult().GetSuccess() {
			return &messages.SessionResult{Outcome: &messages.SessionResult_Screenshot{Screenshot: &messages.Screenshot{Images: a.GetImages()}}}
		}
		return agentRefusal(a.GetResult())
	default:
		return &messages.SessionResult{Outcome: &messages.SessionResult_Refusal{Refusal: refusalOf(answer)}}
	}
}

func serverResult(answer any) *messages.ServerResult {
	if view, ok := answer.(*messages.ServerView); ok {
		return &messages.ServerResult{Outcome: &messages.ServerResult_Server{Server: view}}
	}
	return &messages.ServerResult{Outcome: &messages.ServerResult_Refusal{Refusal: refusalOf(answer)}}
}

// agentRefusal says what an agent could not do. One that never answered and one that
// went away are told apart from one that answered no.
func agentRefusal(result *messages.Result) *messages.SessionResult {
	switch result.GetCode() {
	case messages.AgentNotFound:
		return refuseSession(messages.CodeSessionNotFound, "the host does not have the session")
	case messages.AgentTimeout:
		return refuseSession(messages.CodeAgentTimeout, "the host did not answer in time")
	default:
		return refuseSession(messages.CodeAgentFailed, clip(result.GetCode()+": "+result.GetError()))
	}
}

// clip bounds what an agent may say about a failure, whole characters only.
func clip(text string) string {
	const most = 300
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

func refusalOf(answer any) *messages.Refusal {
	switch a := answer.(type) {
	case *messages.Refusal:
		return a
	case error:
		if errors.Is(a, fleet.ErrTimeout) {
			return &messages.Refusal{Code: messages.CodeTimeout, Detail: "the request was not finished in time", RetryAfterMs: 1000}
		}
		return &messages.Refusal{Code: messages.CodeInternal, Detail: "the broker could not finish the request"}
	default:
		return &messages.Refusal{Code: messages.CodeInternal, Detail: fmt.Sprintf("the broker got an answer it does not know: %T", answer)}
	}
}

func refuseSession(code, detail string) *messages.SessionResult {
	return &messages.SessionResult{Outcome: &messages.SessionResult_Refusal{Refusal: &messages.Refusal{Code: code, Detail: detail}}}
}
