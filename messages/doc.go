// Package messages holds everything that crosses a mailbox, in protobuf and nothing else.
//
// What one actor says to another. "session", "server" and "queue" are grains, reached by
// identity wherever they live; "placer" and "roster" are one per broker, "link" is one per
// agent socket; "client" is a request of the API, through the gateway. Where no reply is
// named nobody waits, and what has to come of it has a deadline.
//
//	message                  sender           receiver         reply
//	-------                  ------           --------         -----
//	CreateSession            client           session          SessionView, Refusal
//	DeleteSession            client           session          SessionView, Refusal
//	UpdateSessionPermissions client           session          SetPermissionsResponse (from the link), Refusal
//	OpenServer               client           server           ServerView, Refusal
//	CloseServer              client           server           ServerView, Refusal
//	ServerCommand            client, session  server           SetPermissionsResponse, ScreenshotResponse (from the link), Refusal
//
//	PlaceSession             session, queue   placer           PlacementGranted, PlacementRefused
//	EnqueueSession           session          queue            (to the session) PlacementQueued, PlacementGranted, PlacementRefused
//	LeaveQueue               session          queue
//	RoomChanged              placer           queue
//	PlacementGranted         placer, queue    queue, session   ReleaseSlot to the server, if it is not wanted any more
//	PlacementRefused         placer, queue    queue, session
//	PlacementQueued          queue            session          LeaveQueue, if it is not wanted any more
//	ReserveSlot              placer           server           SlotReserved, SlotRefused
//	SlotReserved             server           placer
//	SlotRefused              server           placer
//	ReleaseSlot              session, placer  server
//
//	LaunchSession            session          server           SessionLaunched, SessionLaunchFailed
//	CloseSession             session          server           SessionClosed, SessionCloseFailed
//	SessionLaunched          server           session
//	SessionLaunchFailed      server           session
//	SessionClosed            server           session
//	SessionCloseFailed       server           session
//	SessionFound             server           session          SessionBound, SessionTaken, CloseSession, or none
//	SessionBound             session          server
//	SessionTaken             session          server
//	SessionVanished          server           session
//	SessionUnreachable       server           session
//	SessionAbandoned         server           session
//	ServerSuperseded         server           server (older)   ServerEnded, or ServerKept if an agent speaks for it
//	ServerKept               server (older)   server
//	ServerEnded              server (older)   server
//	LinkReplaced             server           link
//	BrokerLeft               fleet            server
//
//	Envelope                 fleet            courier          what the message in it is answered with
//	Ping                     courier          courier          Pong
//	Pong                     courier          courier
//	RosterUpdate             roster           roster           RosterAck
//	RosterAck                roster           roster
//	RosterPull               roster           roster           RosterPage
//	RosterPage               roster           roster
//
//	AgentAttached            link             server           AgentAccepted, AgentRejected
//	AgentAccepted            server           link
//	AgentRejected            server           link
//	AgentReported            link             server           SessionsUpdateResponse, Refusal
//	AgentDetached            link             server
//	AgentFrame               server           link             the response to the request in it
//	CreateSessionResponse    link             server
//	DeleteSessionResponse    link             server
//	DescribeResponse         link             server
//	SetPermissionsResponse   link             client
//	ScreenshotResponse       link             client
//	SessionsUpdateResponse   server           link
//
//	SessionView              session          client           (to readers: through the roster)
//	ServerView               server, roster   client, placer   (to readers: through the roster)
//	Refusal                  any              whoever asked
//	Wake                     node, queue      session, server
//	Passivate                fleet            session
//	DeadlineReached          clock            session, server
//
// On the agent's socket, in an AgentFrame (agent.proto says which way each goes):
// HelloRequest, HelloResponse, SessionsUpdateRequest, CreateSessionRequest,
// DeleteSessionRequest, SetPermissionsRequest, ScreenshotRequest, DescribeRequest and
// the responses above.
//
// At the gateway only: TakeScreenshot, which becomes a ServerCommand; SessionResult and
// ServerResult, the outcome of an item; Screenshot.
//
// In the store: SessionRecord, ServerRecord.
//
// Parts of others: Result, ProtocolVersion, UpdateResult, DcvSession, ServerFacts,
// ServerLoad, Endpoint, Os, Cpu, Aws, Gpu, ScreenshotImage, SessionSpec, RefusalCount,
// Removal.
package messages
