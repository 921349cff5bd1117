// Package actors holds the mailboxes: thin shells around the pure packages below it.
//
//	sessionGrain  one per session, identity = session id; persists SessionRecord
//	serverGrain   one per DCV server, identity = server id; persists ServerRecord;
//	              the only one who may reserve a slot
//	queueGrain    one per fleet; holds creates that wait for room; persists nothing,
//	              the queued sessions bring themselves back
//	placer        one per broker; picks servers and asks them to reserve
//	rosterActor   one per broker; publishes the snapshots that reads are served from
//	agentLink     one per agent socket; correlates requests and replies
//
// A grain decides, saves, adopts and only then acts. It never waits: what takes
// time comes back as a message, and what arrives meanwhile is kept in order. A
// failed or doubtful save makes it forget what it believed and load again. Whatever
// is told to another actor may be lost with a process; every state that waits for an
// answer has a deadline, and everything owed is done again after a reload.
package actors
