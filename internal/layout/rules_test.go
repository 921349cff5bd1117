package layout

// who may import whom: what stands left may import what stands right, of this
// module, and nothing else. "x/..." is x and everything below it. The first line
// that fits a package counts, so the narrow ones stand first. Test files are free.
var who = []struct {
	pkg     string
	imports []string
}{
	// what crosses a mailbox, and where state is kept
	{"messages", nil},
	{"persistence", nil},
	{"persistence/consul", []string{"persistence", "internal/consulapi"}},
	{"persistence/...", []string{"persistence"}},

	// the pure rules: no actor, no clock, no input or output
	{"actors/session", []string{"messages"}},
	{"actors/server", []string{"messages"}},
	{"actors/permissions", nil},
	{"actors/requirements", []string{"messages"}},
	{"actors/placement", []string{"messages", "actors/requirements"}},
	{"actors/roster", []string{"messages", "actors/requirements"}},

	// the mailboxes around them
	{"actors", []string{"messages", "persistence", "actors/..."}},

	// the doors
	{"http/listen", nil},
	{"http/audit", []string{"http/listen"}},
	{"http/dnsmapping", []string{"persistence"}},
	{"http/metrics", []string{"http/listen"}},
	{"http/oauth/authserver", nil},
	{"http/oauth/keyset", nil},
	{"http/oauth", []string{"persistence", "http/audit", "http/listen", "http/oauth/...", "internal/enrolment"}},
	{"http/admin/adminclient", []string{"http/oauth/authserver"}}, // linked into the command line, so it knows nothing of the broker
	{"http/admin", []string{"persistence", "http/admin/adminclient", "http/audit", "http/dnsmapping", "http/listen", "http/oauth", "http/oauth/authserver", "internal/certs", "internal/enrolment"}},
	{"http/agentws", []string{"messages", "http/audit", "http/listen", "http/oauth", "internal/agentproto"}},
	{"http/rest/openapi", nil},
	{"http/rest/apitest", []string{"http/rest/openapi"}},
	{"http/rest", []string{"messages", "actors/requirements", "actors/roster", "http/audit", "http/listen", "http/oauth", "http/rest/openapi"}},

	// many brokers as one, and the place where a broker is put together
	{"cluster/membership/consul", []string{"cluster/membership", "internal/consulapi"}},
	{"cluster/membership/...", []string{"cluster/membership/..."}},
	{"cluster/reconcile", []string{"messages", "persistence"}},
	{"cluster/fleet", []string{"messages", "persistence", "cluster/membership"}},
	{"cluster/gateway", []string{"messages", "actors/roster", "cluster/fleet"}},
	{"cluster/node", []string{"messages", "actors/...", "cluster/fleet", "cluster/gateway", "cluster/membership/...", "cluster/reconcile", "http/...", "persistence/...", "internal/..."}},
	{"cluster/clustertest", []string{"messages", "cluster/...", "persistence/...", "internal/...", "agent/..."}},

	// the host's side
	{"agent/...", []string{"messages", "agent/...", "internal/..."}},

	// what several programs share; never the project's parts
	{"internal/agentproto", []string{"messages"}},
	{"internal/...", []string{"internal/..."}},

	// programs
	{"cmd/dcv-session-manager-broker/internal/cli", []string{"http/admin/adminclient", "http/oauth/authserver", "internal/..."}},
	{"cmd/dcv-session-manager-broker/...", []string{"cmd/dcv-session-manager-broker/...", "cluster/node", "http/admin/adminclient", "internal/..."}},
	{"cmd/dcv-session-manager-agent/...", []string{"cmd/dcv-session-manager-agent/...", "agent/...", "internal/..."}},
	{"cmd/dcvsm/...", []string{"cmd/dcvsm/...", "internal/version"}}, // speaks to a broker, so knows nothing of it
	{"cmd/internal/demo", nil}, // knows what a person has: the programs, their files and the API
	{"cmd/...", []string{"cmd/...", "internal/...", "agent/...", "cluster/node"}},
	{"bench/...", []string{"..."}},
}

// only says which packages may import a library, and those below it.
var only = []struct {
	library string
	pkgs    []string
	why     string
}{
	{"github.com/valyala/fasthttp", []string{"http/...", "cluster/node", "bench/..."}, "a request stays at the door"},
	{"github.com/fasthttp/router", []string{"http/...", "cluster/node"}, "a request stays at the door"},
	{"github.com/fasthttp/websocket", []string{"http/agentws", "agent/...", "internal/devhost/...", "bench/..."}, "sockets are dialled and accepted in few places"},
	{"github.com/asynkron/protoactor-go", []string{"messages", "actors", "cluster/..."}, "the engine could be replaced"},
	{"google.golang.org/grpc", []string{"cluster/..."}, "the engine could be replaced"},
	{"go.etcd.io/bbolt", []string{"persistence/embedded"}, "each database in its own folder"},
	{"github.com/hashicorp/consul", []string{"persistence/consul/...", "cluster/membership/consul", "internal/consulapi"}, "each database in its own folder"},
	{"database/sql", []string{"persistence/mysql"}, "each database in its own folder"},
	{"github.com/aws/aws-sdk-go-v2", []string{"agent/fingerprint", "persistence/dynamodb", "cluster/membership/finder/targetgroup"}, "few places know of a cloud"},
	{"github.com/MicahParks", []string{"http/oauth/keyset"}, "keys of strangers are read in one place"},
	{"github.com/spf13", []string{"cmd/...", "internal/devhost/..."}, "options are read by programs"},
	{"os/exec", []string{"agent/...", "internal/devhost/...", "cmd/dcv-devserver/...", "cmd/internal/demo", "cluster/clustertest", "persistence/consul/consultest", "bench/..."}, "the broker runs no other program"},
	{"unsafe", []string{"messages"}, "generated code only"},
}

// pure packages are given the time and do nothing: same input, same answer.
var pure = []string{
	"actors/session", "actors/server", "actors/placement", "actors/requirements", "actors/permissions", "actors/roster",
}

// impure is what a pure package must not import.
var impure = []string{"os", "io/fs", "net", "net/http", "log", "log/slog", "context", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "database/sql"}

// Longest files, in lines. Generated ones are exempt.
const (
	longestFile = 500
	longestTest = 600 // a table of cases reads well at some length
)
