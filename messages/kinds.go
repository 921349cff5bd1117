package messages

// Grain kinds: the names under which brokers find each other's actors.
const (
	KindSession = "session"
	KindServer  = "server"
	KindQueue   = "queue"
)

// QueueIdentity is the one queue grain of a fleet.
const QueueIdentity = "creates"
