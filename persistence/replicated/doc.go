// Package replicated is the store of brokers that share no database: each keeps a full
// copy of all records, in memory and, with a Disk, in a file of its own.
//
// One broker leads; who that is, is not decided here (SetRole). Every write goes to it.
// It compares the version, and answers when its own copy and those of all followers have
// the change. A follower reads from its copy while the leader confirmed, within the
// lease, that it follows; a leader that cannot reach a follower waits until that time is
// over, and then goes on without it. So what was answered is in every copy that is read.
//
// A change is a record with a version that no other change has, given by the broker
// where the write began. Copies are joined by keeping the higher version of each key, a
// deletion counting as a change that leaves a mark. Hence a write that is sent again to
// the next leader is recognised, and copies that went separate ways, by a parted network
// or because a broker was away, become one: of two changes of one key the later wins.
//
// A change that failed half-way may be at some followers. They compare their copies with
// the leader's then, as one does that joins, and what they have becomes everybody's.
//
// That is what makes it weaker than a database: two leaders that do not know of each
// other both accept. Permit is there to let at most one of them.
package replicated
