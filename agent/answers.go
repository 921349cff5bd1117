package agent

import "opensessionmanager/messages"

// Bounds of the memory of answers.
const (
	rememberedAnswers = 256
	longestRequestID  = 64
)

// answers remembers what was answered to the latest requests, by request id.
// The zero value is empty. Requests being worked on are bounded by the executor.
type answers struct {
	byID map[string]*messages.AgentFrame // nil value: being worked on
	done []string                        // answered, oldest first
}

// find returns the answer given to id; known without an answer means that the
// request is being worked on.
func (m *answers) find(id string) (answer *messages.AgentFrame, known bool) {
	answer, known = m.byID[id]
	return answer, known
}

func (m *answers) begin(id string) {
	if m.byID == nil {
		m.byID = make(map[string]*messages.AgentFrame)
	}
	m.byID[id] = nil
}

// finish remembers an answer if that is worth its memory: pictures and reports
// are simply made again.
func (m *answers) finish(id string, answer *messages.AgentFrame) {
	if !memorable(answer) {
		delete(m.byID, id)
		return
	}
	m.byID[id] = answer
	m.done = append(m.done, id)
	if len(m.done) > rememberedAnswers {
		delete(m.byID, m.done[0])
		m.done = m.done[1:]
	}
}

func memorable(answer *messages.AgentFrame) bool {
	switch answer.GetBody().(type) {
	case *messages.AgentFrame_CreateSessionResponse,
		*messages.AgentFrame_DeleteSessionResponse,
		*messages.AgentFrame_SetPermissionsResponse:
		return true
	}
	return false
}
