package messages

// Refusal codes are part of the API: stable, never reused for another meaning.
// What a client reads beside a code is decided in http/rest's error table.
const (
	CodeSessionNotFound   = "SESSION_NOT_FOUND"       // also: the owner does not match
	CodeSessionNotReady   = "SESSION_NOT_READY"       // the session exists but cannot do this now
	CodeSessionDeleted    = "SESSION_DELETED"         // it is DELETING or DELETED already
	CodeSessionExists     = "SESSION_EXISTS"          // the id is taken
	CodeKeyReused         = "IDEMPOTENCY_KEY_REUSED"  // same Idempotency-Key, other content
	CodeNoServer          = "NO_SERVER_AVAILABLE"     // no server met the criteria; see counts
	CodeServerFull        = "SERVER_FULL"             // a server had no room for this session
	CodeOwnerLimit        = "OWNER_LIMIT_REACHED"     // the owner has as many sessions there as allowed
	CodeServerUnavailable = "SERVER_UNAVAILABLE"      // the session's server cannot be used now
	CodeServerNotFound    = "DCV_SERVER_NOT_FOUND"    // contract 1.10
	CodeServerHasSessions = "DCV_SERVER_HAS_SESSIONS" // contract 1.10
	CodeQueueFull         = "QUEUE_FULL"              // create-sessions-queue-max-size reached
	CodeQueueTimeout      = "QUEUE_TIMEOUT"           // create-sessions-queue-max-time-seconds passed
	CodeInvalid           = "INVALID_REQUEST"         // the item itself is wrong
	CodeRequirements      = "INVALID_REQUIREMENTS"    // the Requirements expression is wrong
	CodeLaunchFailed      = "LAUNCH_FAILED"           // every allowed try on a host failed
	CodeAgentTimeout      = "AGENT_TIMEOUT"           // the agent did not answer in time
	CodeAgentFailed       = "AGENT_FAILED"            // the agent answered with an error
	CodeHostRestarted     = "HOST_RESTARTED"          // the host booted and the session was not there
	CodeVanished          = "SESSION_VANISHED"        // the host no longer has it
	CodeUnreachable       = "SERVER_UNREACHABLE"      // no agent speaks for the server
	CodeDuplicateIdentity = "DUPLICATE_IDENTITY"      // a living agent already uses this identity
	CodeStoreUnavailable  = "STORE_UNAVAILABLE"       // nothing can be made durable now
	CodeBusy              = "BUSY"                    // too much at once; try again
	CodeNotReady          = "NOT_READY"               // the broker cannot answer truthfully yet
	CodeUnknownMessage    = "UNKNOWN_MESSAGE"         // a broker of another version sent something this one does not know
	CodeInternal          = "INTERNAL_ERROR"          // a mistake of ours; the log says more
	CodeTimeout           = "TIMEOUT"                 // the broker did not finish in time; the outcome was undone if it could be
)

// Results of agent commands (Result.Code on the agent protocol).
const (
	AgentDCVNotRunning = "DCV_NOT_RUNNING"  // dcvserver does not answer; another host may do
	AgentLimitReached  = "LIMIT_REACHED"    // the host's own limits; another host may do
	AgentOwnerUnknown  = "OWNER_UNKNOWN"    // no such user on this host
	AgentBadFile       = "BAD_FILE"         // init or autorun file missing, outside its folder or not executable
	AgentNotFound      = "NOT_FOUND"        // no such session here
	AgentTimeout       = "TIMEOUT"          // dcv did not finish in time
	AgentFailed        = "FAILED"           // anything else; error says what
	AgentUnsupported   = "UNSUPPORTED"      // a request this agent does not know
	AgentBadRequest    = "BAD_REQUEST"      // a frame that cannot be understood
	AgentVersion       = "PROTOCOL_VERSION" // major protocol versions differ
)
