#!/usr/bin/env bash
# Shows a session's whole life on this machine: one broker with its defaults, two
# simulated hosts with their agents, a client. Everything lives in a temporary folder
# and ends with the script. Run by `make demo`; needs the programs in bin/.
set -euo pipefail
bin=$(cd "$(dirname "$0")/../bin" && pwd)
dir=$(mktemp -d)
pids=()

finish() {
	code=$?
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	if [ $code != 0 ]; then
		echo "The demo failed. The logs:" >&2
		tail -n 20 "$dir"/*.log >&2
	fi
	rm -rf "$dir"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s\n' "$*"; }

# start LOG PROGRAM...: runs a program beside the script.
start() {
	log=$1
	shift
	"$@" >"$dir/$log.log" 2>&1 &
	pids+=($!)
}

# await WHAT COMMAND...: tries until it works, for a minute at most.
await() {
	what=$1
	shift
	for _ in $(seq 300); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	echo "waited a minute for $what in vain" >&2
	return 1
}

# member NAME: the first value of that name in the JSON on the input.
member() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" | sed -n 1p; }

# free PORT: the first port from there on where nobody listens.
free() {
	port=$1
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo "$port"
}

client_port=$(free 28443)
agent_port=$(free 28543)
admin_port=$(free 28643)
ca=$dir/broker/security/dcvsmbroker_ca.pem

step "A broker with its defaults, on ports of its own, for this machine only"
cat >"$dir/broker.properties" <<END
session-manager-working-path = broker
client-to-broker-connector-https-port = $client_port
client-to-broker-connector-bind-host = 127.0.0.1
agent-to-broker-connector-bind-host = 127.0.0.1
agent-to-broker-connector-https-port = $agent_port
cli-to-broker-port = $admin_port
END
chmod 0600 "$dir/broker.properties"
broker=("$bin/dcv-session-manager-broker" --config "$dir/broker.properties")
"${broker[@]}" --check-config
start broker "${broker[@]}"
await "the broker" "${broker[@]}" describe-api-clients

step "A client of the API is registered"
credentials=$("${broker[@]}" register-api-client --client-name demo)
echo "$credentials" | sed 's/\(client-password: ....\).*/\1.../'
cat >"$dir/dcvsm.conf" <<END
[broker]
url = https://127.0.0.1:$client_port
[security]
ca-bundle = $ca
[authentication]
auth-server-url = https://127.0.0.1:$client_port/oauth2/token?grant_type=client_credentials
client-id = $(echo "$credentials" | sed -n 's/^client-id: //p')
client-password = $(echo "$credentials" | sed -n 's/^client-password: //p')
END
chmod 0600 "$dir/dcvsm.conf"
dcvsm=("$bin/dcvsm" --conf "$dir/dcvsm.conf")

step "Two simulated hosts, each with an agent; one is tagged color=blue"
start hosts "$bin/dcv-devserver" serve --dir "$dir/hosts" --hosts 2 --ca-file "$ca" \
	--auth-token-verifier "https://127.0.0.1:$agent_port/agent/validate-authentication-token"
await "the hosts" "$dir/hosts/host-2/dcv" list-sessions
"${broker[@]}" generate-software-statement | sed 's/^software-statement: //' >"$dir/statement"
for i in 1 2; do
	agent=$dir/agent-$i
	mkdir -p "$agent"/{tags,init,autorun,data,log}
	[ $i = 1 ] || echo 'color = "blue"' >"$agent/tags/demo.toml"
	cat >"$agent/agent.conf" <<END
version = '0.1'
[agent]
broker_host = '127.0.0.1'
broker_port = $agent_port
ca_file = '$ca'
software_statement_path = '$dir/statement'
dcv_root = '$dir/hosts/host-$i/dcv'
tags_folder = '$agent/tags'
init_folder = '$agent/init'
autorun_folder = '$agent/autorun'
data_folder = '$agent/data'
[log]
directory = '$agent/log'
END
	chmod 0600 "$agent/agent.conf"
	start "agent-$i" "$bin/dcv-session-manager-agent" --config "$agent/agent.conf"
done
both_available() { [ "$("${dcvsm[@]}" describe-servers | grep -c '"availability": "AVAILABLE"')" = 2 ]; }
await "the agents" both_available
"${dcvsm[@]}" --output-format table describe-servers

step "A session that only the blue host may have"
session=$("${dcvsm[@]}" create-session --name demo --owner "$(id -un)" --type Virtual --requirements "tag:color = 'blue'" | member id)
echo "session $session"
is_ready() { "${dcvsm[@]}" describe-sessions --session-ids "$session" | grep -q '"state": "READY"'; }
await "the session" is_ready
"${dcvsm[@]}" --output-format table describe-sessions --session-ids "$session"

step "One that no host can have is refused, with the reason"
"${dcvsm[@]}" create-session --name demo --owner "$(id -un)" --type Virtual --requirements "tag:color = 'red'" >/dev/null

step "A user connects with the token that the broker gives out"
url=$("${dcvsm[@]}" --output-format table get-session-connection-data --session-id "$session" --user "$(id -un)" | grep -o 'https://[^ ]*')
url=$(echo "$url" | sed 's|//[^/]*:|//127.0.0.1:|') # the simulated hosts listen on this machine only
"$bin/dcv-devserver" connect --insecure --for 1s "$url"

step "A screenshot"
"${dcvsm[@]}" get-session-screenshots --session-ids "$session" --save-to "$dir" >/dev/null

step "The session is deleted"
"${dcvsm[@]}" delete-session --session-id "$session" --owner "$(id -un)" | member state
is_gone() { "${dcvsm[@]}" describe-sessions --session-ids "$session" | grep -q '"state": "DELETED"'; }
await "the end of the session" is_gone
"${dcvsm[@]}" --output-format table describe-sessions --session-ids "$session"

step "Done"
