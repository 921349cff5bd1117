package rest

import (
	"crypto/sha256"
	"encoding/binary"

	"opensessionmanager/http/audit"
	"opensessionmanager/messages"
)

// maxIdempotencyKey bounds the header in bytes.
const maxIdempotencyKey = 255

// createSessions accepts sessions; they come to life afterwards (contract section
// 1.5). An accepted item is answered with its id at once. With the header
// Idempotency-Key the ids depend on caller, key and position, and a repeated
// request gets the answer of the first instead of more sessions (C22, N4).
func (s *Server) createSessions(c *call, in *[]createSessionRequest) error {
	if !validKey(c.idempotencyKey) {
		return invalid("Idempotency-Key must be 1 to 255 printable ASCII characters")
	}
	ctx, cancel := s.deadline()
	defer cancel()
	items := *in
	accepted := make([]*messages.CreateSession, len(items))
	outcomes := dispatch(items,
		func(i int, item *createSessionRequest) (*messages.CreateSession, *messages.Refusal) {
			command, refusal := s.createCommand(c, i, item)
			accepted[i] = command
			return command, refusal
		},
		func(commands []*messages.CreateSession) []*messages.SessionResult {
			return s.cfg.Fleet.CreateSessions(ctx, commands)
		})
	return answerItems(c, outcomes,
		func(i int) audit.Event {
			return audit.Event{Session: accepted[i].GetSessionId(), Owner: items[i].Owner}
		},
		func(b []byte, i int, r *messages.SessionResult) []byte {
			// The answer is the same for a repeated request, whatever became of the session.
			return appendSessionMembers(b, acceptedView(accepted[i], r.GetSession()))
		},
		func(b []byte, i int) []byte { return appendEcho(b, "CreateSessionRequestData", &items[i]) })
}

func (s *Server) createCommand(c *call, i int, item *createSessionRequest) (*messages.CreateSession, *messages.Refusal) {
	spec, refusal := s.sessionSpec(item)
	if refusal != nil {
		return nil, refusal
	}
	return &messages.CreateSession{
		SessionId:     s.ids.next(c.principal.Key(), c.idempotencyKey, i),
		Spec:          spec,
		RequestDigest: specDigest(spec),
		RequestedBy:   c.principal.ClientID,
		Repeatable:    c.idempotencyKey != "",
	}, nil
}

// acceptedView is the session as it is accepted.
func acceptedView(command *messages.CreateSession, v *messages.SessionView) *messages.SessionView {
	spec := command.GetSpec()
	created := v.GetCreationUnixMs()
	return &messages.SessionView{
		Id:                   command.GetSessionId(),
		Name:                 spec.GetName(),
		Owner:                spec.GetOwner(),
		Type:                 spec.GetType(),
		MaxConcurrentClients: spec.MaxConcurrentClients,
		State:                messages.SessionState_SESSION_STATE_CREATING,
		Substate:             messages.SessionSubstate_SESSION_SUBSTATE_PLACING,
		CreationUnixMs:       created,
		StorageRoot:          spec.GetStorageRoot(),
	}
}

func validKey(key string) bool {
	if len(key) > maxIdempotencyKey {
		return false
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return false
		}
	}
	return true
}

// specDigest is the same for two items that ask for the same session. Each member
// has a number and a length, so that members may be added and none can pose as
// another; brokers of different versions compute the same.
func specDigest(spec *messages.SessionSpec) []byte {
	var b []byte
	text := func(member uint64, value string) {
		b = binary.AppendUvarint(binary.AppendUvarint(b, member), uint64(len(value)))
		b = append(b, value...)
	}
	number := func(member uint64, value int64) {
		b = binary.AppendVarint(binary.AppendUvarint(b, member), value)
	}
	flag := func(member uint64, value bool) {
		if value {
			number(member, 1)
		}
	}
	text(1, spec.GetName())
	text(2, spec.GetOwner())
	number(3, int64(spec.GetType()))
	text(4, spec.GetInitFile())
	text(5, spec.GetAutorunFile())
	for _, argument := range spec.GetAutorunFileArguments() {
		text(6, argument)
	}
	if spec.MaxConcurrentClients != nil {
		number(7, spec.GetMaxConcurrentClients())
	}
	flag(8, spec.GetDcvGlEnabled())
	if spec.PermissionsFile != nil {
		text(9, string(spec.GetPermissionsFile()))
	}
	text(10, spec.GetRequirements())
	flag(11, spec.GetEnqueueRequest())
	flag(12, spec.GetDisableRetryOnFailure())
	text(13, spec.GetStorageRoot())
	sum := sha256.Sum256(b)
	return sum[:]
}
