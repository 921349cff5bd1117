package dnsmapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a file.
const (
	MaxBytes    = 4 << 20
	MaxMappings = 20_000
	maxID       = 256
	maxName     = 253 // RFC 1035 as text
	maxLabel    = 63
)

// ErrFile is wrapped by what is wrong with a file; the text says where.
var ErrFile = errors.New("dnsmapping: invalid file")

// Type says what ServerID is.
type Type string

// The types that there are.
const (
	ByIP         Type = "Ip"
	ByID         Type = "Id"
	ByInstanceID Type = "Host.Aws.Ec2InstanceId"
)

// types are the spellings that the vendor's guide has, in lower case.
var types = map[string]Type{
	"ip": ByIP, "ipaddress": ByIP,
	"id": ByID, "agentserverid": ByID,
	"host.aws.ec2instanceid": ByInstanceID, "ec2instanceid": ByInstanceID, "instanceid": ByInstanceID,
}

// Parse reads a file of mappings: a JSON list of objects with ServerIdType, ServerId and
// DnsNames, which holds InternalDnsName and ExternalDnsName. Names of properties may be
// in any letter case; unknown ones are refused. A server may be named once. A mapping
// without names is one to remove.
func Parse(data []byte) ([]Mapping, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrFile, MaxBytes)
	}
	var list []struct {
		ServerIDType *string `json:"serverIdType"`
		ServerID     *string `json:"serverId"`
		DNSNames     *struct {
			Internal string `json:"internalDnsName"`
			External string `json:"externalDnsName"`
		} `json:"dnsNames"`
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrFile)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("%w: it must be a JSON list of mappings: %w", ErrFile, err)
	}
	if decoder.More() {
		return nil, fmt.Errorf("%w: there is something after the list", ErrFile)
	}
	if len(list) == 0 || len(list) > MaxMappings {
		return nil, fmt.Errorf("%w: it has %d mappings; 1 to %d are taken", ErrFile, len(list), MaxMappings)
	}
	mappings := make([]Mapping, 0, len(list))
	seen := map[Mapping]bool{}
	for i, item := range list {
		if item.ServerIDType == nil || item.ServerID == nil || item.DNSNames == nil {
			return nil, fmt.Errorf("%w: mapping %d needs ServerIdType, ServerId and DnsNames", ErrFile, i+1)
		}
		m, err := check(*item.ServerIDType, *item.ServerID, Names{item.DNSNames.Internal, item.DNSNames.External})
		if err != nil {
			return nil, fmt.Errorf("%w: mapping %d: %w", ErrFile, i+1, err)
		}
		if server := (Mapping{Type: m.Type, ServerID: m.ServerID}); seen[server] {
			return nil, fmt.Errorf("%w: mapping %d: the server %q is there twice", ErrFile, i+1, m.ServerID)
		} else {
			seen[server] = true
		}
		mappings = append(mappings, m)
	}
	return mappings, nil
}

func check(kind, id string, names Names) (Mapping, error) {
	canonical, known := types[strings.ToLower(kind)]
	if !known {
		return Mapping{}, fmt.Errorf("ServerIdType is %.64q; write Ip, Id or Host.Aws.Ec2InstanceId", kind)
	}
	if id == "" || len(id) > maxID || strings.IndexFunc(id, unicode.IsControl) >= 0 {
		return Mapping{}, fmt.Errorf("ServerId must have 1 to %d bytes without control characters", maxID)
	}
	for _, name := range []string{names.Internal, names.External} {
		if name != "" && !hostname(name) {
			return Mapping{}, fmt.Errorf("%.300q is not a DNS name", name)
		}
	}
	return Mapping{Type: canonical, ServerID: id, Names: names}, nil
}

// hostname takes what a resolver can look up, a trailing dot and an underscore included.
func hostname(name string) bool {
	if len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}
