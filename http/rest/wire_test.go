package rest

import (
	"math"
	"strconv"
	"time"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/messages"
)

// The answers as plain structs: what the tests read, and what the hand-written
// encoder must equal, member by member and in this order.

type wireSession struct {
	ID                    string `json:"Id"`
	Name                  string
	Owner                 string
	Type                  string
	MaxConcurrentClients  *int64 `json:",omitzero"`
	State                 string
	Substate              string             `json:",omitzero"`
	StateReason           string             `json:",omitzero"`
	CreationTime          string             `json:",omitzero"`
	LastDisconnectionTime string             `json:",omitzero"`
	NumOfConnections      int64              `json:"NumOfConnections"`
	StorageRoot           string             `json:",omitzero"`
	Server                *wireServerAddress `json:",omitzero"`
}

type wireServerAddress struct {
	ID             string `json:"Id"`
	IP             string `json:"Ip"`
	Hostname       string
	DefaultDNSName string `json:"DefaultDnsName,omitzero"`
	Port           string `json:",omitzero"`
	Endpoints      []wireEndpoint
	WebURLPath     string `json:"WebUrlPath,omitzero"`
}

type wireServer struct {
	wireServerAddress
	Version                    string `json:",omitzero"`
	SessionManagerAgentVersion string `json:",omitzero"`
	Availability               string
	UnavailabilityReason       string `json:",omitzero"`
	ConsoleSessionCount        int32
	VirtualSessionCount        int32
	Host                       wireHost
	Tags                       []wirePair
}

type wirePair struct {
	Key   string
	Value string
}

type wireEndpoint struct {
	IPAddress  string `json:"IpAddress,omitzero"`
	Port       int32
	WebURLPath string `json:"WebUrlPath,omitzero"`
	Protocol   string
}

type wireHost struct {
	Os             *wireOs `json:",omitzero"`
	Memory         wireMemory
	Swap           wireMemory
	Aws            *wireAws  `json:",omitzero"`
	CPUInfo        *wireCPU  `json:"CpuInfo,omitzero"`
	CPULoadAverage *wireLoad `json:"CpuLoadAverage,omitzero"`
	Gpus           []wireGpu
	LoggedInUsers  []wireUser
}

type wireOs struct {
	Family        string `json:",omitzero"`
	Name          string `json:",omitzero"`
	Version       string `json:",omitzero"`
	KernelVersion string `json:",omitzero"`
	BuildNumber   string `json:",omitzero"`
}

type wireMemory struct {
	TotalBytes int64
	UsedBytes  *int64 `json:",omitzero"`
}

type wireAws struct {
	Region          string `json:",omitzero"`
	EC2InstanceType string `json:",omitzero"`
	EC2InstanceID   string `json:"EC2InstanceId,omitzero"`
	EC2ImageID      string `json:"EC2ImageId,omitzero"`
}

type wireCPU struct {
	Vendor              string `json:",omitzero"`
	ModelName           string `json:",omitzero"`
	Architecture        string `json:",omitzero"`
	NumberOfCpus        int32
	PhysicalCoresPerCPU int32 `json:"PhysicalCoresPerCpu"`
}

type wireLoad struct {
	OneMinute      *float32 `json:",omitzero"`
	FiveMinutes    *float32 `json:",omitzero"`
	FifteenMinutes *float32 `json:",omitzero"`
}

type wireGpu struct {
	Vendor    string `json:",omitzero"`
	ModelName string `json:",omitzero"`
}

type wireUser struct{ Username string }

type describedSessions struct {
	RequestID string `json:"RequestId"`
	Sessions  []wireSession
	NextToken string
}

type describedServers struct {
	RequestID string `json:"RequestId"`
	Servers   []wireServer
	NextToken string
}

// failedItem has every member a failed item may have, whatever the operation.
type failedItem struct {
	SessionID                       string                `json:"SessionId"`
	CreateSessionRequestData        *createSessionRequest `json:",omitzero"`
	GetSessionScreenshotRequestData *screenshotRequest
	OpenServerRequestData           *openServerRequest
	CloseServerRequestData          *closeServerRequest
	FailureReason                   string
	FailureCode                     string
	FailureDetails                  *struct {
		Detail  string
		Servers []struct {
			Criterion string
			Count     int
		}
		RetryAfterMs int64
	}
}

type itemsAnswer[S any] struct {
	RequestID        string `json:"RequestId"`
	SuccessfulList   []S
	UnsuccessfulList []failedItem
}

type doneItem struct {
	SessionID         string `json:"SessionId"`
	ServerID          string `json:"ServerId"`
	State             string
	SessionScreenshot *struct {
		SessionID string `json:"SessionId"`
		Images    []struct {
			Format, Data, CreationTime string
			Primary                    bool
		}
	}
}

func wireTime(unixMs int64) string {
	if unixMs <= 0 || unixMs > maxUnixMs {
		return ""
	}
	return time.UnixMilli(unixMs).UTC().Format("2006-01-02T15:04:05.000Z")
}

func asWireSession(v *messages.SessionView, server *messages.ServerView) wireSession {
	w := wireSession{
		ID: v.Id, Name: v.Name, Owner: v.Owner, Type: typeName(v.Type), MaxConcurrentClients: v.MaxConcurrentClients,
		State: stateName(v.State), Substate: substateName(v.Substate),
		CreationTime: wireTime(v.CreationUnixMs), LastDisconnectionTime: wireTime(v.LastDisconnectionUnixMs),
		NumOfConnections: v.NumOfConnections, StorageRoot: v.StorageRoot,
	}
	if v.State != messages.SessionState_SESSION_STATE_READY {
		w.StateReason = v.StateReason
		if w.StateReason == "" {
			w.StateReason = v.ReasonCode
		}
	}
	if server != nil {
		address := asWireAddress(server)
		w.Server = &address
	}
	return w
}

func asWireAddress(v *messages.ServerView) wireServerAddress {
	f := v.GetFacts()
	w := wireServerAddress{
		ID: v.Id, IP: f.GetIp(), Hostname: f.GetHostname(), DefaultDNSName: f.GetDefaultDnsName(),
		Endpoints: []wireEndpoint{}, WebURLPath: f.GetWebUrlPath(),
	}
	if port := webPort(f.GetEndpoints()); port != 0 {
		w.Port = strconv.Itoa(int(port))
	}
	for _, e := range f.GetEndpoints() {
		endpoint := wireEndpoint{IPAddress: e.IpAddress, Port: e.Port, Protocol: e.Protocol}
		if e.Protocol == "HTTP" {
			endpoint.WebURLPath = e.WebUrlPath
		}
		w.Endpoints = append(w.Endpoints, endpoint)
	}
	return w
}

func asWireServer(v *messages.ServerView) wireServer {
	f := v.GetFacts()
	w := wireServer{
		wireServerAddress: asWireAddress(v),
		Version:           f.GetDcvVersion(), SessionManagerAgentVersion: f.GetAgentVersion(),
		Availability: "AVAILABLE", ConsoleSessionCount: v.ConsoleSessions, VirtualSessionCount: v.VirtualSessions,
		Host: asWireHost(v), Tags: []wirePair{},
	}
	if v.Availability != messages.Availability_AVAILABILITY_AVAILABLE {
		w.Availability, w.UnavailabilityReason = "UNAVAILABLE", unavailabilityName(v.UnavailabilityReason)
	}
	for _, tag := range requirements.Tags(f) {
		w.Tags = append(w.Tags, wirePair(tag))
	}
	return w
}

func asWireHost(v *messages.ServerView) wireHost {
	f, l := v.GetFacts(), v.GetLoad()
	w := wireHost{
		Memory: wireMemory{TotalBytes: f.GetMemoryTotalBytes()}, Swap: wireMemory{TotalBytes: f.GetSwapTotalBytes()},
		Gpus: []wireGpu{}, LoggedInUsers: []wireUser{},
	}
	if l != nil {
		w.Memory.UsedBytes, w.Swap.UsedBytes = &l.MemoryUsedBytes, &l.SwapUsedBytes
		w.CPULoadAverage = &wireLoad{finite(&l.LoadOneMinute), finite(&l.LoadFiveMinutes), finite(&l.LoadFifteenMinutes)}
	}
	if os := f.GetOs(); os != nil {
		w.Os = &wireOs{os.Family, os.Name, os.Version, os.KernelVersion, os.BuildNumber}
	}
	if aws := f.GetAws(); aws != nil {
		w.Aws = &wireAws{aws.Region, aws.Ec2InstanceType, aws.Ec2InstanceId, aws.Ec2ImageId}
	}
	if cpu := f.GetCpu(); cpu != nil {
		w.CPUInfo = &wireCPU{cpu.Vendor, cpu.ModelName, cpu.Architecture, cpu.NumberOfCpus, cpu.PhysicalCoresPerCpu}
	}
	for _, gpu := range f.GetGpus() {
		w.Gpus = append(w.Gpus, wireGpu{gpu.Vendor, gpu.ModelName})
	}
	for _, user := range l.GetLoggedInUsers() {
		w.LoggedInUsers = append(w.LoggedInUsers, wireUser{user})
	}
	return w
}

func finite(f *float32) *float32 {
	if math.IsNaN(float64(*f)) || math.IsInf(float64(*f), 0) {
		return nil
	}
	return f
}
