// Package config reads the broker's properties file.
//
// Every key is defined once, by the tags of a field of Config: its spelling, its
// default, its bounds and its meaning. The file reader, the error texts, the
// reference page and the sample file are all derived from those tags.
//
// A wrong value stops the broker and names file, line, key and cure; an unknown
// key is only a warning, because operators' files carry some (contract section 6).
package config

import "time"

//go:generate go run gen.go

// DefaultPath is where the broker looks when no file is named.
const DefaultPath = "/etc/dcv-session-manager-broker/session-manager-broker.properties"

// Config is everything an operator can choose. Tags of a field:
//
//	prop    the key's only spelling
//	default the value when the key is absent, spelt as in the file
//	doc     one or two sentences for the reference page
//	range   bounds of a number, both included, in the unit of the file
//	oneof   the words that are allowed
//	status  "ignored": accepted, without effect; "deprecated"; "later": belongs
//	        to a feature that this version does not have
//
// The unit of a time.Duration is the word that ends its key's name.
type Config struct {
	// File is the file that was read; "" if there was none.
	File string

	Storage       Storage       `group:"Storage"`
	Authorization Authorization `group:"Authorization"`
	Client        Client        `group:"Client API"`
	Agent         Agent         `group:"Agents"`
	Gateway       Gateway       `group:"Connection Gateway"`
	Admin         Admin         `group:"Administration"`
	Sessions      Sessions      `group:"Sessions"`
	Queue         Queue         `group:"Waiting and retrying"`
	Screenshots   Screenshots   `group:"Screenshots"`
	Autorun       Autorun       `group:"Autorun files"`
	Proxies       Proxies       `group:"Load balancers in front"`
	Throttling    Throttling    `group:"Throttling"`
	Logging       Logging       `group:"Logging"`
	Fleet         Fleet         `group:"Other brokers"`
	Consul        Consul        `group:"Consul"`
	Persistence   Persistence   `group:"External database"`
	Prometheus    Prometheus    `group:"Prometheus metrics"`
	Metrics       Metrics       `group:"CloudWatch metrics"`
	Vendor        Vendor        `group:"Accepted, without effect"`
}

// Connector is what a TLS listener needs, whichever it is.
type Connector struct {
	Port         int
	BindHost     string
	KeyStoreFile Path
	KeyStorePass Secret
}

// Connector returns the listening part.
func (c Client) Connector() Connector {
	return Connector{c.Port, c.BindHost, c.KeyStoreFile, c.KeyStorePass}
}

// Connector returns the listening part.
func (a Agent) Connector() Connector {
	return Connector{a.Port, a.BindHost, a.KeyStoreFile, a.KeyStorePass}
}

// Storage says where the broker keeps what must survive a restart.
type Storage struct {
	WorkingPath Path   `prop:"session-manager-working-path" default:"" doc:"Folder for the broker's data, keys and certificates; only the broker's user may have access. Without a value it is /var/lib/dcvsmbroker if that folder exists and may be written to, else ./dcvsm-broker."`
	StateStore  string `prop:"state-store" default:"embedded" oneof:"embedded,memory,consul" doc:"Where sessions, keys and registered clients are kept. 'embedded': a database file in the working path, which survives a restart. 'memory': everything is lost when the broker stops. The brokers of a fleet without Consul each keep a copy of everything there. 'consul': in the key-value store of Consul, shared by all brokers of the fleet; that is the value whenever consul-address is given."`
}

// Authorization says who may call the broker.
type Authorization struct {
	EnableServer bool `prop:"enable-authorization-server" default:"true" doc:"The broker itself issues access tokens to registered API clients. With false, tokens of registered external authorization servers are the only ones."`
	AuthServerCA Path `prop:"auth-server-ca-file" default:"" doc:"CA that signs the certificates of external authorization servers, PEM. Without a value it is the machine's list."`
	EnableClient bool `prop:"enable-authorization" default:"true" doc:"Calls of the client API need an access token. With false anybody who reaches the port controls every session."`
	EnableAgent  bool `prop:"enable-agent-authorization" default:"true" doc:"Agents need a software statement or an enrolment token of this broker. With false anybody who reaches the port can pose as a DCV server."`
}

// Client is the listener of the client API.
type Client struct {
	Port          int    `prop:"client-to-broker-connector-https-port" default:"8443" range:"1..65535" doc:"Port of the client API."`
	BindHost      string `prop:"client-to-broker-connector-bind-host" default:"0.0.0.0" doc:"Address that the client API listens on."`
	KeyStoreFile  Path   `prop:"client-to-broker-connector-key-store-file" default:"" doc:"Key and certificate of the client API: a Java key store, a PKCS12 file or a PEM file. A relative path starts at this file's folder. Without a value the broker makes its own certificate, signed by its own CA."`
	KeyStorePass  Secret `prop:"client-to-broker-connector-key-store-pass" default:"" doc:"Password of that key store."`
	EnableAPIYAML bool   `prop:"enable-api-yaml" default:"false" doc:"Serves the OpenAPI description at /api.yaml of the client port."`
}

// Agent is the listener that agents and DCV servers call.
type Agent struct {
	Port         int           `prop:"agent-to-broker-connector-https-port" default:"8445" range:"1..65535" doc:"Port for agents and for the DCV servers' token check."`
	BindHost     string        `prop:"agent-to-broker-connector-bind-host" default:"0.0.0.0" doc:"Address that the agent port listens on."`
	KeyStoreFile Path          `prop:"agent-to-broker-connector-key-store-file" default:"" doc:"Key and certificate of the agent port; see client-to-broker-connector-key-store-file."`
	KeyStorePass Secret        `prop:"agent-to-broker-connector-key-store-pass" default:"" doc:"Password of that key store."`
	PingInterval time.Duration `prop:"agent-ping-interval-seconds" default:"4" range:"1..300" doc:"How often the broker pings a silent agent; after three pings without an answer the connection is given up, on both sides. With more than 4 an agent needs longer than 15 s to be with another broker."`
	Grace        time.Duration `prop:"agent-grace-seconds" default:"30" range:"1..3600" doc:"How long an agent may be away before its server counts as unreachable and the sessions there as UNKNOWN."`
}

// Gateway is the session resolver of Connection Gateways.
type Gateway struct {
	Enable           bool   `prop:"enable-gateway" default:"false" status:"later" doc:"Opens the session resolver for DCV Connection Gateways."`
	Port             int    `prop:"gateway-to-broker-connector-https-port" default:"8447" range:"1..65535" status:"later" doc:"Port of the session resolver."`
	BindHost         string `prop:"gateway-to-broker-connector-bind-host" default:"0.0.0.0" status:"later" doc:"Address that the session resolver listens on."`
	KeyStoreFile     Path   `prop:"gateway-to-broker-connector-key-store-file" default:"" status:"later" doc:"Key and certificate of the session resolver; see client-to-broker-connector-key-store-file."`
	KeyStorePass     Secret `prop:"gateway-to-broker-connector-key-store-pass" default:"" status:"later" doc:"Password of that key store."`
	EnableClientAuth bool   `prop:"enable-tls-client-auth-gateway" default:"false" status:"later" doc:"Gateways must show a certificate that the trust store knows."`
	TrustStoreFile   Path   `prop:"gateway-to-broker-connector-trust-store-file" default:"" status:"later" doc:"Certificates of the gateways that may ask."`
	TrustStorePass   Secret `prop:"gateway-to-broker-connector-trust-store-pass" default:"" status:"later" doc:"Password of that trust store."`
}

// Admin is the listener of the admin commands; it is bound to the loopback address.
type Admin struct {
	Port int `prop:"cli-to-broker-port" default:"47200" range:"1..65535" doc:"Port that the admin commands of this program use. It listens on the loopback address only."`
}

// Sessions holds the times of a session's life.
type Sessions struct {
	KeepDeleted       time.Duration `prop:"delete-session-duration-seconds" default:"3600" range:"0..31536000" doc:"How long a deleted session stays visible."`
	KeepDeletedHours  time.Duration `prop:"delete-session-duration-hours" default:"1" range:"0..8760" status:"deprecated" doc:"Use delete-session-duration-seconds, which wins if both are given."`
	CreationTimeout   time.Duration `prop:"session-creation-timeout-seconds" default:"120" range:"5..3600" doc:"How long one host may take to create a session before the attempt counts as failed."`
	DeletionTimeout   time.Duration `prop:"session-deletion-timeout-seconds" default:"120" range:"5..3600" doc:"How long a host may take to delete a session before it is asked again."`
	TokenDuration     time.Duration `prop:"connect-session-token-duration-minutes" default:"60" range:"1..525600" doc:"Life of a connection token."`
	DropServersAfter  time.Duration `prop:"seconds-before-deleting-unreachable-dcv-server" default:"1800" range:"1..31536000" doc:"An unreachable DCV server is forgotten after this many seconds."`
	DropSessionsAfter time.Duration `prop:"seconds-before-deleting-sessions-unreachable-server" default:"" range:"1..31536000" doc:"Sessions on an unreachable DCV server are deleted after this many seconds. Without a value they stay UNKNOWN until their agent is back or somebody deletes them by force."`
}

// Queue bounds the requests that wait for a server.
type Queue struct {
	MaxSize    int           `prop:"create-sessions-queue-max-size" default:"1000" range:"0..1000000" doc:"How many session creations may wait for a server; when full, new ones are refused."`
	MaxTime    time.Duration `prop:"create-sessions-queue-max-time-seconds" default:"1800" range:"1..604800" doc:"How long one may wait before it fails."`
	MaxRetries int           `prop:"create-sessions-number-of-retries-on-failure" default:"2" range:"0..100" doc:"How often a failed creation is tried again, on another host first. 0: never."`
}

// Screenshots holds the form of a screenshot when the request does not say.
type Screenshots struct {
	MaxWidth  int    `prop:"session-screenshot-max-width" default:"160" range:"1..16384" doc:"Greatest width in pixels, unless the request says otherwise."`
	MaxHeight int    `prop:"session-screenshot-max-height" default:"100" range:"1..16384" doc:"Greatest height in pixels, unless the request says otherwise."`
	Format    string `prop:"session-screenshot-format" default:"png" oneof:"png,jpeg" doc:"Image format."`
}

// Autorun bounds the arguments of an autorun file.
type Autorun struct {
	MaxArguments      int `prop:"autorun-file-arguments-max-size" default:"50" range:"0..10000" doc:"How many arguments an autorun file may be given."`
	MaxArgumentLength int `prop:"autorun-file-arguments-max-argument-length" default:"150" range:"1..32768" doc:"Greatest length of one of them, in characters."`
}

// Proxies says who may speak for others, and how. See Networks.
type Proxies struct {
	Names    []string `prop:"certificate-names" default:"" doc:"Names and addresses, separated by commas, that the certificates which the broker makes itself have besides those of the machine: those of a load balancer that passes TLS through, as in dcv.example.com."`
	Trusted  []string `prop:"trusted-proxies" default:"" doc:"Addresses or networks (10.0.0.0/16) of the load balancers in front, separated by commas. Only what these say about who calls is believed: by proxy-protocol, or by X-Forwarded-For with enable-throttling-forward-header."`
	Protocol string   `prop:"proxy-protocol" default:"off" oneof:"off,client,agent,both" doc:"Ports on which the trusted proxies begin every connection with a PROXY protocol header (version 1 or 2), which names the caller: the port of the client API, the one of the agents, or both. There, connections of a trusted proxy without the header are closed, and so are those of anybody else with one."`
}

// Prometheus is the listener for scrapes.
type Prometheus struct {
	Port     int    `prop:"metrics-port" default:"0" range:"0..65535" doc:"Port of https://.../metrics for Prometheus, with the client API's certificate. 0: there is none. Whoever reaches it can read the figures."`
	BindHost string `prop:"metrics-bind-host" default:"127.0.0.1" doc:"Address that it listens on."`
}

// Throttling bounds the request rate of each caller.
type Throttling struct {
	RequestsPerSecond int  `prop:"max-api-requests-per-second" default:"1000" range:"1..10000000" doc:"How many requests one caller may make in a second, and at once after a rest, at each broker: on the client port and the agent port, where WebSockets count only if they are refused. More are answered 429 with Retry-After. Addresses of one IPv6 /64 are one caller."`
	ForwardHeader     bool `prop:"enable-throttling-forward-header" default:"false" doc:"Takes the caller's address from X-Forwarded-For: for throttling, and in the log. Only a header that one of trusted-proxies set is believed; the caller is the last address in it that is none of these."`
}

// Logging says where log lines go.
type Logging struct {
	Level       string `prop:"log-level" default:"info" oneof:"debug,info,warning,error" doc:"Least level that is logged."`
	Directory   Path   `prop:"log-directory" default:"" doc:"Folder of broker.log. Without a value the log goes to the standard error stream."`
	Rotation    string `prop:"log-rotation" default:"daily" oneof:"hourly,daily,never" doc:"When a new file is started, whatever its size."`
	MaxFileSize int    `prop:"log-max-file-size-mb" default:"10" range:"1..10240" doc:"A new file is started at this size, in MiB."`
	KeepFiles   int    `prop:"log-files-kept" default:"9" range:"1..10000" doc:"How many older files are kept."`

	AuditDirectory   Path   `prop:"audit-log-directory" default:"" doc:"Folder of audit.log, which says who did what, as one JSON object a line. Without a value it is log-directory, or else the working path."`
	AuditRotation    string `prop:"audit-log-rotation" default:"daily" oneof:"hourly,daily,never" doc:"When a new audit.log is started, whatever its size."`
	AuditMaxFileSize int    `prop:"audit-log-max-file-size-mb" default:"100" range:"1..10240" doc:"A new audit.log is started at this size, in MiB."`
	AuditKeepFiles   int    `prop:"audit-log-files-kept" default:"90" range:"1..10000" doc:"How many older files of audit.log are kept."`
}

// Consul names the Consul agent through which the brokers of a fleet find each other
// and in which they keep what they share.
type Consul struct {
	Addresses  []string `prop:"consul-address" default:"" doc:"Consul agent, as in 127.0.0.1:8500 or https://consul.example:8501; several of one Consul cluster are separated by commas, and when one does not answer the next is asked. With it the brokers that name the same Consul and prefix are one fleet. Without it the broker is alone."`
	Token      Secret   `prop:"consul-token" default:"" doc:"ACL token. It needs service:write for dcv-session-manager-broker, key:write below the prefix, and node:read for all nodes. Without a value it is CONSUL_HTTP_TOKEN of the environment, if that is set."`
	CAFile     Path     `prop:"consul-ca-file" default:"" doc:"CA of the agent's certificate, PEM."`
	CertFile   Path     `prop:"consul-cert-file" default:"" doc:"Certificate to show to the agent, PEM."`
	KeyFile    Path     `prop:"consul-key-file" default:"" doc:"Its private key, PEM."`
	ServerName string   `prop:"consul-tls-server-name" default:"" doc:"Name in the agent's certificate, if it is not the one of consul-address."`
	Prefix     string   `prop:"consul-prefix" default:"dcv-session-manager/" doc:"What the keys of this fleet begin with. Fleets that share a Consul need different ones."`
}

// Fleet says how brokers reach each other.
type Fleet struct {
	Port              int      `prop:"broker-to-broker-port" default:"47100" range:"1..65535" doc:"Port for messages between the brokers of a fleet."`
	BindHost          string   `prop:"broker-to-broker-bind-host" default:"0.0.0.0" doc:"Address that it listens on."`
	Advertise         string   `prop:"broker-to-broker-advertised-host" default:"" doc:"Name or address under which the other brokers reach this one. Without a value it is the bind host, or the first address of the machine if that is 0.0.0.0."`
	DiscoveryPort     int      `prop:"broker-to-broker-discovery-port" default:"47500" range:"1..65535" doc:"Port on which the brokers of a fleet without Consul find and agree with each other and share their records, in mutual TLS. It is open only if one of the ways below is used."`
	Addresses         []string `prop:"broker-to-broker-discovery-addresses" default:"" doc:"Addresses (host:port, the discovery port) of all brokers of the fleet, the same list on each, separated by commas. Three or more act only while they reach a majority of the list. Nobody but 127.0.0.1 is a broker that is alone."`
	MulticastGroup    string   `prop:"broker-to-broker-discovery-multicast-group" default:"" doc:"IPv4 multicast address, as in 239.255.0.1, by which the brokers of a network find each other."`
	MulticastPort     int      `prop:"broker-to-broker-discovery-multicast-port" default:"47400" range:"1..65535" doc:"Port of the multicast group."`
	AWSRegion         string   `prop:"broker-to-broker-discovery-aws-region" default:"" doc:"Region of the target group. Without a value it is the one in its ARN."`
	AWSTargetGroupARN string   `prop:"broker-to-broker-discovery-aws-alb-target-group-arn" default:"" doc:"ARN of a load balancer's target group whose targets are the brokers. It needs elasticloadbalancing:DescribeTargetHealth and ec2:DescribeInstances."`
	KeyStoreFile      Path     `prop:"broker-to-broker-key-store-file" default:"" doc:"Key and certificate for messages between brokers: a Java key store, a PKCS12 file or a PEM file, with the certificates of the authorities whose brokers are trusted. Certificates of brokers must have the DNS name broker.fleet, unless all brokers use the same one. Without a value the broker makes its own certificate, signed by its own CA, which all brokers then have to share."`
	KeyStorePass      Secret   `prop:"broker-to-broker-key-store-pass" default:"" doc:"Password of that key store."`
}

// Persistence names an external database. This version has none.
type Persistence struct {
	Enable         bool   `prop:"enable-persistence" default:"false" status:"later" doc:"Keeps the state in an external database. Refused by this version; state-store = embedded keeps it in a file."`
	Database       string `prop:"persistence-db" default:"" oneof:"dynamodb,mysql" status:"later" doc:"Kind of the database."`
	DynamoDBRegion string `prop:"dynamodb-region" default:"" status:"later" doc:"Region of the tables."`
	DynamoDBRCU    int    `prop:"dynamodb-table-rcu" default:"10" range:"1..1000000" status:"later" doc:"Read capacity units of each table."`
	DynamoDBWCU    int    `prop:"dynamodb-table-wcu" default:"10" range:"1..1000000" status:"later" doc:"Write capacity units of each table."`
	DynamoDBPrefix string `prop:"dynamodb-table-name-prefix" default:"DcvSm-" status:"later" doc:"Prefix of the tables' names: letters, digits, dot, dash and underscore."`
	JDBCURL        string `prop:"jdbc-connection-url" default:"" status:"later" doc:"As in jdbc:mysql://host:3306/database."`
	JDBCUser       string `prop:"jdbc-user" default:"" status:"later" doc:"User of the database."`
	JDBCPassword   Secret `prop:"jdbc-password" default:"" status:"later" doc:"The user's password."`
}

// Metrics says where figures are published. This version publishes none to CloudWatch.
type Metrics struct {
	EnableCloudWatch bool   `prop:"enable-cloud-watch-metrics" default:"false" status:"later" doc:"Publishes metrics to CloudWatch."`
	Region           string `prop:"cloud-watch-region" default:"" status:"later" doc:"Region of the metrics."`
	FleetName        string `prop:"metrics-fleet-name-dimension" default:"default" status:"later" doc:"Value of the dimension 'Fleet Name'."`
}

// Vendor holds keys of the vendor's broker that mean nothing here.
type Vendor struct {
	JavaHome        string `prop:"broker-java-home" default:"" status:"ignored" doc:"This broker needs no Java."`
	MemoryMaxSize   string `prop:"broker-to-broker-distributed-memory-max-size-mb" default:"4096" status:"ignored" doc:"This broker reserves no memory."`
	ConnectionLogin string `prop:"broker-to-broker-connection-login" default:"" status:"ignored" doc:"Brokers authenticate each other by certificate."`
	ConnectionPass  Secret `prop:"broker-to-broker-connection-pass" default:"" status:"ignored" doc:"Brokers authenticate each other by certificate."`
}
