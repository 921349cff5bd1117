package api

// The bodies of contract section 1, in the vendor's order of members, which is also
// the order of the output. A member that is absent or null is nil.

// DescribeSessionsRequest asks for sessions; empty lists mean all.
type DescribeSessionsRequest struct {
	SessionIDs []string       `json:"SessionIds,omitempty"`
	Filters    []KeyValuePair `json:",omitempty"`
	MaxResults *int64         `json:",omitempty"`
	NextToken  string         `json:",omitempty"`
}

// DescribeServersRequest asks for servers; an empty list means all.
type DescribeServersRequest struct {
	ServerIDs  []string `json:"ServerIds,omitempty"`
	MaxResults *int64   `json:",omitempty"`
	NextToken  string   `json:",omitempty"`
}

// CreateSessionRequest is also the echo in a failed item, hence the pointers.
type CreateSessionRequest struct {
	Name                  *string  `json:",omitempty"`
	Owner                 *string  `json:",omitempty"`
	Type                  *string  `json:",omitempty"`
	InitFilePath          *string  `json:",omitempty"`
	InitFile              *string  `json:",omitempty"`
	MaxConcurrentClients  *int64   `json:",omitempty"`
	DcvGlEnabled          *bool    `json:",omitempty"`
	PermissionsFile       *string  `json:",omitempty"`
	EnqueueRequest        *bool    `json:",omitempty"`
	AutorunFile           *string  `json:",omitempty"`
	AutorunFileArguments  []string `json:",omitempty"`
	DisableRetryOnFailure *bool    `json:",omitempty"`
	Requirements          *string  `json:",omitempty"`
	StorageRoot           *string  `json:",omitempty"`
}

// DeleteSessionRequest names a session and its owner.
type DeleteSessionRequest struct {
	SessionID string `json:"SessionId"`
	Owner     string
	Force     bool
}

// UpdatePermissionsRequest carries a permissions file in base64.
type UpdatePermissionsRequest struct {
	SessionID       string `json:"SessionId"`
	Owner           string
	PermissionsFile string
}

// ScreenshotRequest is also the echo in a failed item.
type ScreenshotRequest struct {
	SessionID *string `json:"SessionId,omitempty"`
	MaxWidth  *int64  `json:",omitempty"`
	MaxHeight *int64  `json:",omitempty"`
}

// OpenServerRequest is also the echo in a failed item.
type OpenServerRequest struct {
	ServerID *string `json:"ServerId,omitempty"`
}

// CloseServerRequest is also the echo in a failed item.
type CloseServerRequest struct {
	ServerID *string `json:"ServerId,omitempty"`
	Force    *bool   `json:",omitempty"`
}

// KeyValuePair is a filter or a tag.
type KeyValuePair struct {
	Key   *string
	Value *string
}

// Session is contract section 1.2.
type Session struct {
	ID                    *string `json:"Id"`
	Name                  *string
	Owner                 *string
	Server                *Server
	Type                  *string
	MaxConcurrentClients  *int64
	State                 *string
	Substate              *string
	StateReason           *string
	CreationTime          *string
	LastDisconnectionTime *string
	NumOfConnections      *int64
	StorageRoot           *string
}

// Server is contract section 1.2.
type Server struct {
	ID                         *string `json:"Id"`
	IP                         *string `json:"Ip"`
	Hostname                   *string
	DefaultDNSName             *string `json:"DefaultDnsName"`
	Port                       *string
	Endpoints                  []Endpoint
	WebURLPath                 *string `json:"WebUrlPath"`
	Version                    *string
	SessionManagerAgentVersion *string
	Availability               *string
	UnavailabilityReason       *string
	ConsoleSessionCount        *int64
	VirtualSessionCount        *int64
	Host                       *Host
	Tags                       []KeyValuePair
}

// Endpoint is one listener of a DCV server.
type Endpoint struct {
	IPAddress  *string `json:"IpAddress"`
	Port       *int64
	WebURLPath *string `json:"WebUrlPath"`
	Protocol   *string
}

// Host is the machine of a DCV server.
type Host struct {
	OS             *OS `json:"Os"`
	Memory         *Memory
	Swap           *Memory
	AWS            *AWS            `json:"Aws"`
	CPUInfo        *CPUInfo        `json:"CpuInfo"`
	CPULoadAverage *CPULoadAverage `json:"CpuLoadAverage"`
	GPUs           []GPU           `json:"Gpus"`
	LoggedInUsers  []LoggedInUser
}

// OS is an operating system.
type OS struct {
	Family        *string
	Name          *string
	Version       *string
	KernelVersion *string
	BuildNumber   *string
}

// Memory is memory or swap, in bytes.
type Memory struct {
	TotalBytes *int64
	UsedBytes  *int64
}

// AWS is what EC2 says of the host.
type AWS struct {
	Region          *string
	EC2InstanceType *string
	EC2InstanceID   *string `json:"EC2InstanceId"`
	EC2ImageID      *string `json:"EC2ImageId"`
}

// CPUInfo describes the processors.
type CPUInfo struct {
	Vendor              *string
	ModelName           *string
	Architecture        *string
	NumberOfCPUs        *int64 `json:"NumberOfCpus"`
	PhysicalCoresPerCPU *int64 `json:"PhysicalCoresPerCpu"`
}

// CPULoadAverage is the load as the operating system counts it.
type CPULoadAverage struct {
	OneMinute      *float64
	FiveMinutes    *float64
	FifteenMinutes *float64
}

// GPU is one graphics processor.
type GPU struct {
	Vendor    *string
	ModelName *string
}

// LoggedInUser is somebody logged in on the host.
type LoggedInUser struct {
	Username *string
}
