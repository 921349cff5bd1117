package fingerprint

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"opensessionmanager/messages"
)

// metadataPatience bounds all requests of one look together. Off EC2 nobody
// answers at that address, and the agent must not wait long for nobody.
const metadataPatience = 2 * time.Second

// Instance is what a cloud machine's metadata say of it.
type Instance struct {
	Aws        *messages.Aws
	PrivateDNS string
}

// EC2 returns a function that asks the instance metadata service. The endpoint is
// "" for the usual address.
func EC2(endpoint string) func(context.Context) (*Instance, error) {
	client := imds.New(imds.Options{
		Endpoint: endpoint,
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
			DisableKeepAlives: true,
		}},
	})
	return func(ctx context.Context) (*Instance, error) {
		ctx, cancel := context.WithTimeout(ctx, metadataPatience)
		defer cancel()
		document, err := client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
		if err != nil {
			return nil, err
		}
		if document.InstanceID == "" {
			return nil, errors.New("fingerprint: the metadata service names no instance")
		}
		return &Instance{
			PrivateDNS: privateDNS(ctx, client),
			Aws: &messages.Aws{
				// The vendor's Region is the availability zone (contract section 1.2).
				Region:          clean(document.AvailabilityZone),
				Ec2InstanceType: clean(document.InstanceType),
				Ec2InstanceId:   clean(document.InstanceID),
				Ec2ImageId:      clean(document.ImageID),
			},
		}, nil
	}
}

// privateDNS is the host's default DNS name on EC2 (contract section 10).
func privateDNS(ctx context.Context, client *imds.Client) string {
	answer, err := client.GetMetadata(ctx, &imds.GetMetadataInput{Path: "local-hostname"})
	if err != nil {
		return ""
	}
	defer answer.Content.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Content, 1<<10))
	if err != nil {
		return ""
	}
	names := strings.Fields(string(content)) // several with a custom DHCP option set
	if len(names) == 0 {
		return ""
	}
	return clean(names[0])
}

// soldByAmazon reports whether the firmware says that this is an EC2 machine.
func soldByAmazon() bool {
	for _, path := range []string{"/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/board_vendor"} {
		content, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(content), "Amazon EC2") {
			return true
		}
	}
	return false
}
