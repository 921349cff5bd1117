package agent

import (
	"context"
	"log/slog"
	"strconv"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/internal/agentproto"
	"opensessionmanager/messages"
)

// logFrame writes the line that administrators look for (contract section 3),
// without what is nobody's business: permissions and program arguments.
func (a *Agent) logFrame(frame *messages.AgentFrame, data []byte) {
	if !a.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	switch frame.Body.(type) {
	case *messages.AgentFrame_CreateSessionRequest, *messages.AgentFrame_SetPermissionsRequest:
		data = redacted(frame)
	}
	const longest = 4 << 10
	a.log.Info("Processing broker message " + strconv.Quote(string(data[:min(len(data), longest)])))
}

func redacted(frame *messages.AgentFrame) []byte {
	frame = proto.CloneOf(frame)
	if create := frame.GetCreateSessionRequest(); create != nil {
		create.PermissionsFile = nil
		for i := range create.AutorunFileArguments {
			create.AutorunFileArguments[i] = "***"
		}
	}
	if set := frame.GetSetPermissionsRequest(); set != nil {
		set.PermissionsFile = nil
	}
	data, err := agentproto.Encode(frame)
	if err != nil {
		return nil
	}
	return data
}
