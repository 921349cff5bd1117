package requirements

import (
	"strings"

	"opensessionmanager/messages"
)

// property is one server property an expression may name. Exactly one of text
// and number is set; they say false for what a server does not have.
type property struct {
	name   string                            // with its prefix
	text   func(*messages.ServerView) string // "" = it does not have it
	number func(*messages.ServerView) (float64, bool)
	// single: the number is kept in single precision, and a literal is rounded
	// likewise, or 0.1 would never equal 0.1.
	single bool
	load   bool // taken from ServerLoad: it changes all the time
}

// properties are all of them, in the order of contract section 5. Case matters:
// the JSON of DescribeServers spells EC2InstanceId, expressions Ec2InstanceId.
var properties = [...]property{
	{name: "server:Id", text: (*messages.ServerView).GetId},
	{name: "server:Hostname", text: func(v *messages.ServerView) string { return v.GetFacts().GetHostname() }},
	{name: "server:Version", text: func(v *messages.ServerView) string { return v.GetFacts().GetDcvVersion() }},
	{name: "server:SessionManagerAgentVersion", text: func(v *messages.ServerView) string { return v.GetFacts().GetAgentVersion() }},
	{name: "server:Host.Os.BuildNumber", text: func(v *messages.ServerView) string { return v.GetFacts().GetOs().GetBuildNumber() }},
	{name: "server:Host.Os.Family", text: func(v *messages.ServerView) string { return v.GetFacts().GetOs().GetFamily() }},
	{name: "server:Host.Os.KernelVersion", text: func(v *messages.ServerView) string { return v.GetFacts().GetOs().GetKernelVersion() }},
	{name: "server:Host.Os.Name", text: func(v *messages.ServerView) string { return v.GetFacts().GetOs().GetName() }},
	{name: "server:Host.Os.Version", text: func(v *messages.ServerView) string { return v.GetFacts().GetOs().GetVersion() }},
	{name: "server:Host.Memory.TotalBytes", number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetFacts().GetMemoryTotalBytes()), v.GetFacts() != nil
	}},
	{name: "server:Host.Memory.UsedBytes", load: true, number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetLoad().GetMemoryUsedBytes()), v.GetLoad() != nil
	}},
	{name: "server:Host.Swap.TotalBytes", number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetFacts().GetSwapTotalBytes()), v.GetFacts() != nil
	}},
	{name: "server:Host.Swap.UsedBytes", load: true, number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetLoad().GetSwapUsedBytes()), v.GetLoad() != nil
	}},
	{name: "server:Host.CpuLoadAverage.OneMinute", single: true, load: true, number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetLoad().GetLoadOneMinute()), v.GetLoad() != nil
	}},
	{name: "server:Host.CpuLoadAverage.FiveMinutes", single: true, load: true, number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetLoad().GetLoadFiveMinutes()), v.GetLoad() != nil
	}},
	{name: "server:Host.CpuLoadAverage.FifteenMinutes", single: true, load: true, number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetLoad().GetLoadFifteenMinutes()), v.GetLoad() != nil
	}},
	{name: "server:Host.Aws.Ec2InstanceId", text: func(v *messages.ServerView) string { return v.GetFacts().GetAws().GetEc2InstanceId() }},
	{name: "server:Host.Aws.Ec2InstanceType", text: func(v *messages.ServerView) string { return v.GetFacts().GetAws().GetEc2InstanceType() }},
	{name: "server:Host.Aws.Region", text: func(v *messages.ServerView) string { return v.GetFacts().GetAws().GetRegion() }},
	{name: "server:Host.Aws.Ec2ImageId", text: func(v *messages.ServerView) string { return v.GetFacts().GetAws().GetEc2ImageId() }},
	{name: "server:Host.CpuInfo.Architecture", text: func(v *messages.ServerView) string { return v.GetFacts().GetCpu().GetArchitecture() }},
	{name: "server:Host.CpuInfo.ModelName", text: func(v *messages.ServerView) string { return v.GetFacts().GetCpu().GetModelName() }},
	{name: "server:Host.CpuInfo.NumberOfCpus", number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetFacts().GetCpu().GetNumberOfCpus()), v.GetFacts().GetCpu() != nil
	}},
	{name: "server:Host.CpuInfo.PhysicalCoresPerCpu", number: func(v *messages.ServerView) (float64, bool) {
		return float64(v.GetFacts().GetCpu().GetPhysicalCoresPerCpu()), v.GetFacts().GetCpu() != nil
	}},
	{name: "server:Host.CpuInfo.Vendor", text: func(v *messages.ServerView) string { return v.GetFacts().GetCpu().GetVendor() }},
}

// Properties lists the server properties an expression may name, with their
// prefix, for help texts.
func Properties() []string {
	names := make([]string, len(properties))
	for i := range properties {
		names[i] = properties[i].name
	}
	return names
}

func findProperty(key string) *property {
	for i := range properties {
		if properties[i].name == key {
			return &properties[i]
		}
	}
	return nil
}

// propertyHint says what was probably meant by an unknown property (C23).
func propertyHint(key string) string {
	path := strings.TrimPrefix(key, serverPrefix)
	first, rest, dotted := strings.Cut(path, ".")
	switch strings.ToLower(first) {
	case "tag", "tags":
		if dotted && tagNameAt(rest) == len(rest) {
			return "a tag is written " + tagPrefix + echo(rest)
		}
		return "a tag is written tag:name"
	case "ip", "defaultdnsname", "endpoints", "availability", "unavailabilityreason":
		return first + " cannot be used in requirements"
	}
	if strings.HasSuffix(path, "Gpus") || strings.HasSuffix(path, "LoggedInUsers") {
		return "lists cannot be used in requirements"
	}
	if near := nearestProperty(path); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}

// maxTypo bounds the keys that are compared, in bytes; the longest name has 42.
const maxTypo = 80

// nearestProperty finds the name with the fewest typing errors; a name whose
// last part alone was given counts as near.
func nearestProperty(path string) string {
	if len(path) > maxTypo {
		return ""
	}
	wanted := strings.ToLower(path)
	lastWanted := wanted[strings.LastIndexByte(wanted, '.')+1:]
	near, best := "", len(path)/3+2
	for i := range properties {
		name := strings.ToLower(strings.TrimPrefix(properties[i].name, serverPrefix))
		last := name[strings.LastIndexByte(name, '.')+1:]
		d := distance(wanted, name)
		if l := 1 + distance(lastWanted, last); l < d && l <= 1+len(last)/4 {
			d = l
		}
		if strings.HasSuffix(last, lastWanted) && len(lastWanted) > 3 {
			d = min(d, 2)
		}
		if d < best {
			near, best = properties[i].name, d
		}
	}
	return near
}

// distance counts the single characters to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
