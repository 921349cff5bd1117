package rest

import (
	"bytes"
	"strconv"

	"opensessionmanager/actors/requirements"
	"opensessionmanager/actors/roster"
	"opensessionmanager/messages"
)

// appendServer writes a server of the roster in full (DescribeServers).
func appendServer(b []byte, server *roster.Server) []byte {
	if kept := server.Encoded.Load(); kept != nil {
		return append(b, *kept...)
	}
	start := len(b)
	b = appendServerObject(b, server.View)
	encoded := bytes.Clone(b[start:])
	server.Encoded.Store(&encoded)
	return b
}

// appendServerBrief writes the members a session carries of its server: those a
// client needs to connect, none that change with load.
func appendServerBrief(b []byte, server *roster.Server) []byte {
	if kept := server.Brief.Load(); kept != nil {
		return append(b, *kept...)
	}
	start := len(b)
	b = closeObject(appendServerAddress(append(b, '{'), server.View))
	encoded := bytes.Clone(b[start:])
	server.Brief.Store(&encoded)
	return b
}

func appendServerObject(b []byte, v *messages.ServerView) []byte {
	facts := v.GetFacts()
	b = appendServerAddress(append(b, '{'), v)
	b = appendOptionalText(b, "Version", facts.GetDcvVersion())
	b = appendOptionalText(b, "SessionManagerAgentVersion", facts.GetAgentVersion())
	if v.GetAvailability() == messages.Availability_AVAILABILITY_AVAILABLE {
		b = appendText(b, "Availability", "AVAILABLE")
	} else {
		b = appendText(b, "Availability", "UNAVAILABLE")
		b = appendText(b, "UnavailabilityReason", unavailabilityName(v.GetUnavailabilityReason()))
	}
	b = appendInt(b, "ConsoleSessionCount", int64(v.GetConsoleSessions()))
	b = appendInt(b, "VirtualSessionCount", int64(v.GetVirtualSessions()))
	b = append(appendHost(appendName(b, "Host"), v), ',')
	b = append(appendTags(appendName(b, "Tags"), facts), ',')
	return closeObject(b)
}

// appendServerAddress writes who and where a server is, and leaves the object open.
func appendServerAddress(b []byte, v *messages.ServerView) []byte {
	facts := v.GetFacts()
	b = appendText(b, "Id", v.GetId())
	b = appendText(b, "Ip", facts.GetIp())
	b = appendText(b, "Hostname", facts.GetHostname())
	b = appendOptionalText(b, "DefaultDnsName", facts.GetDefaultDnsName())
	if port := webPort(facts.GetEndpoints()); port != 0 {
		b = appendText(b, "Port", strconv.Itoa(int(port)))
	}
	b = append(appendName(b, "Endpoints"), '[')
	for _, endpoint := range facts.GetEndpoints() {
		b = append(appendEndpoint(b, endpoint), ',')
	}
	b = append(closeArray(b), ',')
	return appendOptionalText(b, "WebUrlPath", facts.GetWebUrlPath())
}

// webPort is the value of the deprecated Port: that of the first HTTP listener.
func webPort(endpoints []*messages.Endpoint) int32 {
	for _, endpoint := range endpoints {
		if endpoint.GetProtocol() == "HTTP" {
			return endpoint.GetPort()
		}
	}
	return 0
}

func appendEndpoint(b []byte, e *messages.Endpoint) []byte {
	b = append(b, '{')
	b = appendOptionalText(b, "IpAddress", e.GetIpAddress())
	b = appendInt(b, "Port", int64(e.GetPort()))
	if e.GetProtocol() == "HTTP" {
		b = appendOptionalText(b, "WebUrlPath", e.GetWebUrlPath())
	}
	b = appendText(b, "Protocol", e.GetProtocol())
	return closeObject(b)
}

func appendHost(b []byte, v *messages.ServerView) []byte {
	facts, load := v.GetFacts(), v.GetLoad()
	b = append(b, '{')
	if os := facts.GetOs(); os != nil {
		b = append(appendOs(appendName(b, "Os"), os), ',')
	}
	b = appendMemory(b, "Memory", facts.GetMemoryTotalBytes(), load, load.GetMemoryUsedBytes())
	b = appendMemory(b, "Swap", facts.GetSwapTotalBytes(), load, load.GetSwapUsedBytes())
	if aws := facts.GetAws(); aws != nil {
		b = append(appendAws(appendName(b, "Aws"), aws), ',')
	}
	if cpu := facts.GetCpu(); cpu != nil {
		b = append(appendCPU(appendName(b, "CpuInfo"), cpu), ',')
	}
	if load != nil {
		b = append(appendLoad(appendName(b, "CpuLoadAverage"), load), ',')
	}
	b = append(appendName(b, "Gpus"), '[')
	for _, gpu := range facts.GetGpus() {
		b = append(b, '{')
		b = appendOptionalText(b, "Vendor", gpu.GetVendor())
		b = appendOptionalText(b, "ModelName", gpu.GetModelName())
		b = append(closeObject(b), ',')
	}
	b = append(appendName(append(closeArray(b), ','), "LoggedInUsers"), '[')
	for _, user := range load.GetLoggedInUsers() {
		b = append(closeObject(appendText(append(b, '{'), "Username", user)), ',')
	}
	return closeObject(append(closeArray(b), ','))
}

func appendOs(b []byte, os *messages.Os) []byte {
	b = append(b, '{')
	b = appendOptionalText(b, "Family", os.GetFamily())
	b = appendOptionalText(b, "Name", os.GetName())
	b = appendOptionalText(b, "Version", os.GetVersion())
	b = appendOptionalText(b, "KernelVersion", os.GetKernelVersion())
	b = appendOptionalText(b, "BuildNumber", os.GetBuildNumber())
	return closeObject(b)
}

func appendMemory(b []byte, name string, total int64, load *messages.ServerLoad, used int64) []byte {
	b = appendInt(append(appendName(b, name), '{'), "TotalBytes", total)
	if load != nil {
		b = appendInt(b, "UsedBytes", used)
	}
	return append(closeObject(b), ',')
}

// appendAws spells EC2 in capitals, unlike the requirement properties (contract 1.2).
func appendAws(b []byte, aws *messages.Aws) []byte {
	b = append(b, '{')
	b = appendOptionalText(b, "Region", aws.GetRegion())
	b = appendOptionalText(b, "EC2InstanceType", aws.GetEc2InstanceType())
	b = appendOptionalText(b, "EC2InstanceId", aws.GetEc2InstanceId())
	b = appendOptionalText(b, "EC2ImageId", aws.GetEc2ImageId())
	return closeObject(b)
}

func appendCPU(b []byte, cpu *messages.Cpu) []byte {
	b = append(b, '{')
	b = appendOptionalText(b, "Vendor", cpu.GetVendor())
	b = appendOptionalText(b, "ModelName", cpu.GetModelName())
	b = appendOptionalText(b, "Architecture", cpu.GetArchitecture())
	b = appendInt(b, "NumberOfCpus", int64(cpu.GetNumberOfCpus()))
	b = appendInt(b, "PhysicalCoresPerCpu", int64(cpu.GetPhysicalCoresPerCpu()))
	return closeObject(b)
}

func appendLoad(b []byte, load *messages.ServerLoad) []byte {
	b = append(b, '{')
	b = appendFloat(b, "OneMinute", load.GetLoadOneMinute())
	b = appendFloat(b, "FiveMinutes", load.GetLoadFiveMinutes())
	b = appendFloat(b, "FifteenMinutes", load.GetLoadFifteenMinutes())
	return closeObject(b)
}

func appendTags(b []byte, facts *messages.ServerFacts) []byte {
	b = append(b, '[')
	for _, tag := range requirements.Tags(facts) {
		b = appendText(append(b, '{'), "Key", tag.Key)
		b = append(closeObject(appendText(b, "Value", tag.Value)), ',')
	}
	return closeArray(b)
}

func unavailabilityName(r messages.UnavailabilityReason) string {
	switch r {
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_FULL:
		return "SERVER_FULL"
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_SERVER_CLOSED:
		return "SERVER_CLOSED"
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNREACHABLE_AGENT:
		return "UNREACHABLE_AGENT"
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_UNHEALTHY_DCV_SERVER:
		return "UNHEALTHY_DCV_SERVER"
	case messages.UnavailabilityReason_UNAVAILABILITY_REASON_EXISTING_LOGGED_IN_USER:
		return "EXISTING_LOGGED_IN_USER"
	default:
		return "UNKNOWN"
	}
}
